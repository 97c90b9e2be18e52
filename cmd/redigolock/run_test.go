//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestRunTakesNoBadCommandLine(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                               "takes a key, and a command",
		"k":                              "takes a key, and a command",
		"-- true":                        "takes a key, and a command",
		"k l -- true":                    "takes a key, and a command",
		"k -wait 1s -no-wait -- true":    "contradict",
		"k -wait 0s -- true":             "-wait is 0s",
		"k -ttl 999ms -- true":           "allowed is 1s",
		"k -ttl 25h -embedded -- true":   "24h",
		"k -fair -min-hold 1s -- true":   "choose one",
		"k -busy-code 256 -- true":       "-busy-code",
		"k -grace -1s -- true":           "negative",
		"k -ttl 1s -grace 426ms -- true": "must be shorter than 425",
		"k -ttl 10s -grace 5s -- true":   "must be shorter than",
		"k -frobnicate -- true":          "not defined: -frobnicate; see redigolock help run",
		"k -ttl 30 -- true":              "invalid value",
		"k -url redis://a -url redis://b -fair -- true":        "quorum",
		"k -url redis://a -url redis://b -min-hold 1s -- true": "quorum",
		"k -embedded -owner a|b -- true":                       "wner",
	} {
		call(t, nil, append([]string{"run"}, strings.Fields(args)...)...).want(t, exitUsage, want)
	}
}

func TestRunExitsWithTheCodeOfTheCommand(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command []string
		code    int
	}{
		{[]string{"true"}, 0},
		{[]string{"sh", "-c", "exit 3"}, 3},
		{[]string{"sh", "-c", "kill -9 $$"}, 137},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143},
		{[]string{"no-such-command"}, exitNotFound},
		{[]string{file + "x"}, exitNotFound},
		{[]string{file}, exitNotExecutable},
		{[]string{t.TempDir()}, exitNotExecutable},
	} {
		start(t, s.URL(), append([]string{"run", "k", "--"}, c.command...)...).wantEnd(c.code)
		if held(t, s, "k") {
			t.Errorf("%s: the lock was not released", c.command)
		}
	}
}

func TestRunHoldsAndRenewsTheLock(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := start(t, s.URL(), "run", "k", "-ttl", "2s", "--", "sleep", "60")
	eventually(t, "it holds", func() bool { return held(t, s, "k") })
	for range 20 {
		time.Sleep(200 * time.Millisecond) // beyond the ttl
		if !held(t, s, "k") {
			t.Fatal("the lock was not renewed")
		}
	}
	p.signal(syscall.SIGTERM)
	p.wantEnd(143)
}

// The command learns the key and a fencing number, and nothing that leads to the server.
func TestRunEnvironmentAndStandardFiles(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "hunter2")
	p := startAs(t, s.URL(), func(c *exec.Cmd) {
		c.Env = append(c.Env, "REDISCLI_AUTH=hunter2", "REDIGOLOCK_TOKEN=other", "REDIGOLOCK_FENCE=1", "OTHER=stays")
		c.Stdin = strings.NewReader("from stdin\n")
	}, "run", "a key", "--", "sh", "-c", "cat; env; exit 1")
	p.wantEnd(1)
	out := p.stdout.String()
	for _, want := range []string{"from stdin\n", "REDIGOLOCK_KEY=a key\n", "OTHER=stays\n", "REDIGOLOCK_FENCE=17"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing: %s", want, out)
		}
	}
	for _, never := range []string{"hunter2", "REDIS_URL", "REDISCLI_AUTH", "REDIGOLOCK_TOKEN", "REDIGOLOCK_FENCE=1\n"} {
		if strings.Contains(out, never) {
			t.Errorf("%q is there: %s", never, out)
		}
	}
}

func TestRunExitCodesOfItsOwn(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	mustDo(t, s, "SET", "taken", "other", "PX", "100000")
	mustDo(t, s, "RPUSH", "list", "x")
	mustDo(t, s, "ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-eval", "-evalsha")
	closed := "redis://" + redistest.ClosedAddr
	denied := strings.Replace(s.URL(), "redis://", "redis://app:hunter2@", 1)
	wrong := strings.Replace(s.URL(), "redis://", "redis://app:wrong-hunter2@", 1)
	for _, c := range []struct {
		url, args string
		code      int
	}{
		{s.URL(), "taken -no-wait", exitBusy},
		{s.URL(), "taken -wait 1s", exitBusy},
		{s.URL(), "taken -wait 1s -fair", exitBusy},
		{s.URL(), "taken -no-wait -busy-code 3", 3},
		{s.URL(), "taken -no-wait -busy-code 0", 0},
		{s.URL(), "list", exitConflict},
		{closed, "k", exitUnavailable},
		{closed, "k -no-wait", exitUnavailable},
		{closed, "k -wait 100ms", exitUnavailable},
		{wrong, "k", exitRefused},
		{denied, "k", exitRefused},
	} {
		p := start(t, c.url, append(append([]string{"run"}, strings.Fields(c.args)...), "--", "echo", "it ran")...)
		p.wantEnd(c.code)
		if out := p.stdout.String(); out != "" {
			t.Errorf("%s: the command ran: %s", c.args, out)
		}
		if errors := p.stderr.String(); strings.Contains(errors, "hunter2") || strings.Count(errors, "\n") != 1 {
			t.Errorf("%s: it says %s", c.args, errors)
		}
	}
}

func TestRunWaits(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for _, flag := range []string{"-fair=false", "-fair"} {
		mustDo(t, s, "SET", "k", "other", "PX", "300")
		p := start(t, s.URL(), "run", "k", "-wait", "10s", flag, "--", "echo", "it ran")
		p.wantEnd(0)
		if p.stdout.String() != "it ran\n" {
			t.Error("it did not run")
		}
	}
	mustDo(t, s, "SET", "k", "other", "PX", "30000")
	p := start(t, s.URL(), "run", "k", "--", "echo", "it ran")
	time.Sleep(300 * time.Millisecond) // there is nothing to see of it before
	p.signal(syscall.SIGTERM)
	p.wantEnd(143)
	if p.stdout.String() != "" {
		t.Error("it ran")
	}
}

func mustDo(t *testing.T, s *redistest.Server, cmd string, args ...any) {
	t.Helper()
	if _, err := s.Do(cmd, args...); err != nil {
		t.Fatal(err)
	}
}

// Whatever is killed or stopped: the command is dead before another can have the lock.
func TestRunEndsTheCommandBeforeTheLock(t *testing.T) {
	t.Parallel()
	signalGuard := func(s syscall.Signal) func(p *process, _ *redistest.Server) {
		return func(p *process, _ *redistest.Server) { _ = syscall.Kill(p.guard(), s) }
	}
	signalRun := func(s syscall.Signal) func(p *process, _ *redistest.Server) {
		return func(p *process, _ *redistest.Server) { p.signal(s) }
	}
	delete := func(p *process, s *redistest.Server) { mustDo(p.t, s, "SET", "k", "thief", "PX", "2500") }
	for _, c := range []struct {
		name string
		mode string // of the actor
		do   func(*process, *redistest.Server)
		code int // 0: run is dead or stopped
	}{
		{"kill run", "", signalRun(syscall.SIGKILL), 137},
		{"kill run, deaf", "deaf", signalRun(syscall.SIGKILL), 137},
		{"kill run, grandchild, deaf", "parent deaf", signalRun(syscall.SIGKILL), 137},
		{"stop run", "", signalRun(syscall.SIGSTOP), 0},
		{"stop run, grandchild, deaf", "parent deaf", signalRun(syscall.SIGSTOP), 0},
		{"kill guard", "", signalGuard(syscall.SIGKILL), exitLost},
		{"kill guard, grandchild, deaf", "parent deaf", signalGuard(syscall.SIGKILL), exitLost},
		{"take the lock", "deaf", delete, exitLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, a := redistest.Start(t), newActor(t)
			p := start(t, s.URL(), append([]string{"run", "k", "-ttl", "3s", "-grace", "300ms", "--", a.path, a.file}, strings.Fields(c.mode)...)...)
			a.awaitActs()
			c.do(p, s)
			if c.code > 0 {
				p.wantEnd(c.code)
			}
			a.wantDeadBefore(s, "k")
			_, signals := a.acts()
			if deaf := strings.Contains(c.mode, "deaf"); !deaf && strings.Join(signals, " ") != "terminated" {
				t.Errorf("the command got the signals %q, want one TERM", signals)
			}
			if c.code == 0 {
				p.signal(syscall.SIGCONT)
				p.wantEnd(exitLost)
			}
		})
	}
}

// While the guard stands still, run goes on, and does what the guard would.
func TestRunWithAStoppedGuard(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]bool{"to its end": false, "until the lock is lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := redistest.Start(t), newActor(t)
			p := start(t, s.URL(), "run", "k", "-ttl", "2s", "--", a.path, a.file, "parent", "deaf")
			a.awaitActs()
			guard := p.guard()
			if err := syscall.Kill(guard, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if take {
				mustDo(t, s, "SET", "k", "thief", "PX", "5000")
				p.wantEnd(exitLost)
			} else {
				time.Sleep(3300 * time.Millisecond) // the first news that waits for it, of a second later at most, is over by then
				a.awaitActs()
				if err := syscall.Kill(guard, syscall.SIGCONT); err != nil { // it finds old news first
					t.Fatal(err)
				}
				time.Sleep(500 * time.Millisecond) // for what must not come
				a.awaitActs()
				p.interruptUntilItEnds()
				p.wantEnd(137)
			}
			a.wantDead(time.Now())
		})
	}
}

func TestRunWhenTheCommandIsKilled(t *testing.T) {
	t.Parallel()
	s, a := redistest.Start(t), newActor(t)
	p := start(t, s.URL(), "run", "k", "--", a.path, a.file)
	a.awaitActs()
	guard := p.guard()
	for _, pid := range childrenOf(p.cmd.Process.Pid) {
		if pid != guard {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.wantEnd(137)
	if held(t, s, "k") {
		t.Error("the lock was not released")
	}
}

func TestRunWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	s, a := redistest.Start(t), newActor(t)
	p := start(t, s.URL(), "run", "k", "-ttl", "2s", "-grace", "200ms", "--", a.path, a.file, "deaf")
	a.awaitActs()
	s.Kill()
	by := time.Now().Add(2 * time.Second)
	p.wantEnd(exitLost)
	a.wantDead(by)
}

// What the command leaves behind has time to end, and is killed before the lock is released.
func TestRunEndsWhatTheCommandLeavesBehind(t *testing.T) {
	t.Parallel()
	s, a := redistest.Start(t), newActor(t)
	p := start(t, s.URL(), "run", "k", "-grace", "500ms", "--", a.path, a.file, "leave", "deaf")
	a.awaitActs()
	a.wantDeadBefore(s, "k")
	p.wantEnd(0)
	if _, signals := a.acts(); len(signals) != 0 {
		t.Errorf("it got %q", signals)
	}
	q := start(t, s.URL(), "run", "l", "-grace", "5s", "--", "sh", "-c", "(sleep 0.2; echo late) & echo early")
	q.wantEnd(0)
	if q.stdout.String() != "early\nlate\n" {
		t.Errorf("it could not end: %s", &q.stdout)
	}
	// And when run is killed meanwhile.
	b := newActor(t)
	r := start(t, s.URL(), "run", "m", "-ttl", "10s", "-grace", "3s", "--", b.path, b.file, "leave", "deaf")
	b.awaitActs()
	r.signal(syscall.SIGKILL)
	b.wantDeadBefore(s, "m")
}

func TestRunPassesSignalsOn(t *testing.T) {
	t.Parallel()
	s, a := redistest.Start(t), newActor(t)
	p := start(t, s.URL(), "run", "k", "--", a.path, a.file, "deaf")
	a.awaitActs()
	want := []string{}
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGTERM} {
		p.signal(sig)
		want = append(want, sig.String())
		eventually(t, "the command gets it", func() bool {
			_, got := a.acts()
			return strings.Join(got, ",") == strings.Join(want, ",")
		})
	}
	p.signal(syscall.SIGTERM)
	p.wantEnd(137)
	if held(t, s, "k") {
		t.Error("the lock was not released")
	}
}

// What was ignored when run was started, as nohup does, is ignored by the command, too.
func TestRunUnderNohup(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := startAs(t, s.URL(), func(c *exec.Cmd) {
		c.Path = "/bin/bash"
		c.Args = []string{"bash", "-c", `trap "" HUP; exec -a redigolock "$0" run k -- sh -c 'kill -HUP $$; echo survived'`, exe}
	})
	p.wantEnd(0)
	if p.stdout.String() != "survived\n" {
		t.Errorf("%s%s", &p.stdout, &p.stderr)
	}
}

// Nobody reads what run or its command says, or nobody can.
func TestRunWithClosedAndFullOutput(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	closed, full := brokenPipe(t), fullPipe(t)
	for name, out := range map[string]*os.File{"closed": closed, "full": full} {
		t.Run(name, func(t *testing.T) {
			p := startAs(t, s.URL(), func(c *exec.Cmd) { c.Stdout, c.Stderr = out, out }, "run", name, "-ttl", "3s", "--", "sleep", "0.3")
			p.wantEnd(0)
			// It has something to say: the lock was lost.
			q := startAs(t, s.URL(), func(c *exec.Cmd) { c.Stdout, c.Stderr = out, out }, "run", name, "-ttl", "3s", "--", "sleep", "10")
			eventually(t, "it holds", func() bool { return held(t, s, name) })
			eventually(t, "the command runs", func() bool { return len(childrenOf(q.cmd.Process.Pid)) == 2 })
			mustDo(t, s, "SET", name, "thief", "PX", "100000")
			eventually(t, "the command is ended", func() bool { return len(childrenOf(q.cmd.Process.Pid)) == 0 })
			if name == "closed" {
				q.wantEnd(exitLost)
			}
		})
	}
	// The command meets the closed output as it would without run.
	p := startAs(t, s.URL(), func(c *exec.Cmd) { c.Stdout = closed }, "run", "k", "--", "sh", "-c", "echo x; echo y")
	<-p.ended
	if held(t, s, "k") {
		t.Error("the lock was not released")
	}
}

func brokenPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.Close(), r.Close() })
	_ = w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := io.Copy(w, zeros{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return w
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Of 50 hosts that start a job at once, one runs it.
func TestRunOnceOf50(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "runs")
	var all []*process
	for range 50 {
		all = append(all, start(t, s.URL(), "run", "k", "-no-wait", "-min-hold", "20s", "--", "sh", "-c", fmt.Sprintf("echo x >>%s", file)))
	}
	codes := map[int]int{}
	for _, p := range all {
		<-p.ended
		codes[exitOf(p.cmd.ProcessState)]++
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "x\n" || codes[0] != 1 || codes[exitBusy] != 49 {
		t.Errorf("%q %v, exit codes %v", text, err, codes)
	}
	if !held(t, s, "k") {
		t.Error("-min-hold did not keep the key")
	}
}

// Hosts whose clocks are seconds apart start a short job one after the other.
func TestRunOnceWithMinHold(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	begun := time.Now()
	var codes []int
	for time.Since(begun) < 1500*time.Millisecond {
		p := start(t, s.URL(), "run", "k", "-no-wait", "-ttl", "3s", "-min-hold", "4s", "--", "true")
		<-p.ended
		codes = append(codes, exitOf(p.cmd.ProcessState))
		time.Sleep(400 * time.Millisecond) // the next host is late
	}
	for i, code := range codes {
		if want := map[bool]int{true: 0, false: exitBusy}[i == 0]; code != want {
			t.Errorf("host %d: exit code %d, want %d", i, code, want)
		}
	}
}
