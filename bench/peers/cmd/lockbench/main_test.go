package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench/peers"
	"github.com/redigolock/redigolock/internal/redistest"
)

// TestMain lets a test start this binary as lockbench, and lockbench start it as a process of a Contention.
func TestMain(m *testing.M) {
	if os.Getenv("LOCKBENCH_TEST_MAIN") == "1" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "LOCKBENCH_TEST_MAIN=1", "REDIS_URL=")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, _ := cmd.Output()
	return string(out), errs.String(), cmd.ProcessState.ExitCode()
}

func TestRivalsAreMeasuredBesideOursInSeveralProcesses(t *testing.T) {
	r := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "out.txt")
	_, errs, code := command(t, "-url", r.URL(), "-workload", "approaches,contention,recovery",
		"-ways", "fair,redsync,redislock", "-approaches", "locker,redsync,rueidis", "-goroutines", "4", "-waiters", "4", "-processes", "2", "-ttl", "2s",
		"-time", "100ms", "-count", "1", "-out", file)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, stderr %q", code, errs)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"AcquireRelease/server=redis/approach=rueidis/release=lua/goroutines=4",
		"AcquireRelease/server=redis/approach=redsync/release=lua/goroutines=4",
		"Contention/server=redis/way=redsync/waiters=4/processes=2/hold=0s",
		"Contention/server=redis/way=fair/waiters=4/processes=2/hold=0s",
		"Recovery/server=redis/way=redislock/ttl=2s",
	} {
		if !strings.Contains(string(text), "Benchmark"+want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if n, err := r.Do("DBSIZE"); err != nil || n != int64(0) {
		t.Errorf("%v keys are left, %v", n, err)
	}
}

func TestRivalsTellsTheSettingsAndTheVersionOfEach(t *testing.T) {
	out, errs, code := command(t, "rivals")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, stderr %q", code, errs)
	}
	for _, k := range peers.Kinds() {
		module := regexp.MustCompile(`(?m)^` + k.Name + `  \S+ v\d+\.\d+\.\d+(, \S+ v\d+\.\d+\.\d+)?\n    \w`)
		if !module.MatchString(out) || k.Settings == "" || !strings.Contains(out, "\n    "+k.Settings+"\n") {
			t.Errorf("%s is not told with its versions and settings in\n%s", k.Name, out)
		}
	}
}
