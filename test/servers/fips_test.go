package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A program that may use nothing but FIPS 140-3 cryptography starts, and has the whole library.
func TestFIPSOnly(t *testing.T) {
	if testbed.RaceEnabled {
		t.Skip("the race detector does not watch what it compiles; make more runs it")
	}
	s := redistest.Start(t)
	bin := filepath.Join(t.TempDir(), "fips")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/fips").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(s.URL(), "sha1"); err == nil || !strings.Contains(out, "FIPS 140-only") {
		t.Fatalf("this test shows nothing, SHA-1 is allowed: %v\n%s", err, out)
	}
	if out, err := run(s.URL()); err != nil || out != "done\n" {
		t.Errorf("%v\n%s", err, out)
	}
}
