package lockbench

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	bench.AddRivals(toys()...)
	bench.Join()
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait
	goleak.VerifyTestMain(m)
}

// An outcome is what a run has printed.
type outcome struct {
	code           int
	stdout, stderr string
}

// lockbench runs it with an environment of its own.
func lockbench(ctx context.Context, env map[string]string, args ...string) outcome {
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && !slices.Contains(args, "-url") {
		args = append([]string{"-url", urlEmbedded}, args...)
	}
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, func(name string) string { return env[name] }, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// quick are the flags of a run that is over soon.
func quick(args ...string) []string {
	return append([]string{"-time", "20ms", "-count", "1", "-goroutines", "1,4", "-waiters", "2", "-processes", "1,2"}, args...)
}

// wantLine checks the exit code, and that stderr is one line that contains all the texts.
func (o outcome) wantLine(t *testing.T, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	if line, rest, ok := strings.Cut(o.stderr, "\n"); !ok || rest != "" || !strings.HasPrefix(line, "lockbench: ") {
		t.Errorf("not one line: %q", o.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("%q is not in %q", text, o.stderr)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./internal/lockbench -update writes it anew); got\n%s", path, got)
	}
}

// eventually polls until ok returns true, for a minute at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func keysOf(t *testing.T, r *redistest.Server) []string {
	t.Helper()
	keys, err := redis.Strings(r.Do("KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func do(t *testing.T, r *redistest.Server, cmd string, args ...any) {
	t.Helper()
	if _, err := r.Do(cmd, args...); err != nil {
		t.Fatal(err)
	}
}
