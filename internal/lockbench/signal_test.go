//go:build unix

package lockbench

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// The real process with a real signal.
func TestSignalStopsTheProcessWithExitCode130AndNoKeyLeft(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		r := redistest.Start(t)
		cmd := exec.Command(exe, "-url", r.URL(), "-goroutines", "4", "-time", "1h")
		cmd.Env = append(os.Environ(), "LOCKBENCH_TEST_MAIN=1")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		eventually(t, "there are keys", func() bool { return len(keysOf(t, r)) > 0 })
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		select {
		case err = <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("%v: it still runs after a minute", sig)
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitStopped {
			t.Errorf("%v: %v", sig, err)
		}
		outcome{exitStopped, stdout.String(), stderr.String()}.wantLine(t, exitStopped, "stopped")
		if !strings.Contains(stdout.String(), "lockbench: ") {
			t.Errorf("%v: stdout %q", sig, stdout.String())
		}
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%v: left %q", sig, keys)
		}
	}
}
