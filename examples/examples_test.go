package examples_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"testing"
)

// Each program is short, compiles, runs on the Redis in its own process, and prints what its comment says.
func TestPrograms(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-race="+raceEnabled(), "-o", bin, "./...").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string][]string{
		// TryDo alone runs three times, unless the machine is so slow that a host comes while another works.
		"cron":   {`(?m)^Do: 3 runs`, `(?m)^TryDo: [123] runs`, `(?m)^TryDo with MinHold: 1 runs`, `leaves it to host1#`},
		"leader": {`(?s)leads.*admin +deletes the key.*leads`, `(?s)deletes the key.*was deposed`, `(?s)steps down.*steps down`},
		"orders": {`order 17 +200 OK`, `order 17 +409 Conflict`, `order 18 +200 OK`},
		"batch":  {`host1 +shipped`, `(?m)^1000 shipments`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(filepath.Join(name, "main.go"))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(source, []byte("\n")); n > 80 {
				t.Errorf("%s has %d lines, more than 80", name, n)
			}
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, name)).CombinedOutput()
			if err != nil {
				t.Errorf("%v", err)
			}
			for _, w := range want {
				if !regexp.MustCompile(w).Match(out) {
					t.Errorf("it did not print %s", w)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

// raceEnabled is true or false: what the test has been compiled with need not be compiled in the other way, too.
func raceEnabled() string {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value
		}
	}
	return "false"
}
