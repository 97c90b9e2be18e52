//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// A process is the command as a process.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	ended  chan struct{}
	stdout lockedBuffer
	stderr lockedBuffer
}

// lockedBuffer is a buffer that may be read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts the command. It does not outlive the test.
func start(t *testing.T, url string, args ...string) *process {
	t.Helper()
	return startAs(t, url, nil, args...)
}

// startAs is start, with a say in how the process is started.
func startAs(t *testing.T, url string, change func(*exec.Cmd), args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe, args...), ended: make(chan struct{})}
	p.cmd.Args[0] = "redigolock"
	p.cmd.Env = append(os.Environ(), "REDIS_URL="+url)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if change != nil {
		change(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// signal sends a signal to the command.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// interruptUntilItEnds sends SIGINT again and again: two that come together are one.
func (p *process) interruptUntilItEnds() {
	p.t.Helper()
	eventually(p.t, "it ends", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			_ = p.cmd.Process.Signal(syscall.SIGINT) // it may have ended
			return false
		}
	})
}

// guard returns the process number of the guard.
func (p *process) guard() int {
	p.t.Helper()
	for _, pid := range childrenOf(p.cmd.Process.Pid) {
		if bytes.HasPrefix(commandLine(pid), []byte("redigolock\x00guard\x00")) {
			return pid
		}
	}
	p.t.Fatal("there is no guard")
	return 0
}

func commandLine(pid int) []byte {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return text
}

func childrenOf(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for word := range strings.FieldsSeq(string(text)) {
			n, _ := strconv.Atoi(word)
			pids = append(pids, n)
		}
	}
	return pids
}

const patience = 20 * time.Second // for what happens soon, unless something is wrong

// wantEnd waits for the end of the command, and complains about another exit code.
func (p *process) wantEnd(code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("it does not end\nstdout: %s\nstderr: %s", &p.stdout, &p.stderr)
	}
	if got := exitOf(p.cmd.ProcessState); got != code {
		p.t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", got, code, &p.stdout, &p.stderr)
	}
}

// exitOf is the exit code as a shell shows it.
func exitOf(s *os.ProcessState) int {
	if status := s.Sys().(syscall.WaitStatus); status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return s.ExitCode()
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func init() { programs["actor"] = act }

// An actor is a command that writes the time into a file again and again, until it ends.
type actor struct {
	t    *testing.T
	path string // of the program
	file string
}

// newActor makes what a test has run run. It is this binary under another name: see act.
func newActor(t *testing.T) *actor {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := &actor{t, filepath.Join(dir, "actor"), filepath.Join(dir, "acts")}
	if err := os.Symlink(exe, a.path); err != nil {
		t.Fatal(err)
	}
	return a
}

// acts returns when the actor acted, and the signals that it got.
func (a *actor) acts() (times []time.Time, signals []string) {
	a.t.Helper()
	text, err := os.ReadFile(a.file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if ns, err := strconv.ParseInt(line, 10, 64); err == nil {
			times = append(times, time.Unix(0, ns))
		} else {
			signals = append(signals, line)
		}
	}
	return times, signals
}

// awaitActs waits until it acts.
func (a *actor) awaitActs() {
	a.t.Helper()
	before, _ := a.acts()
	eventually(a.t, "it acts", func() bool {
		now, _ := a.acts()
		return len(now) > len(before)+2
	})
}

// act is what an actor does: it writes the time, and the name of each signal that it gets, into the file. It ends at INT or
// TERM unless it was told "deaf". With "parent" it starts another that writes into the same file, and with "leave" it then
// ends and leaves that one behind.
func act(args []string) {
	file, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	mode := strings.Join(args[1:], " ")
	if strings.Contains(mode, "parent") || strings.Contains(mode, "leave") {
		rest := strings.NewReplacer("parent", "", "leave", "").Replace(mode)
		exe, _ := os.Executable()
		child := exec.Command(exe, append([]string{args[0]}, strings.Fields(rest)...)...)
		child.Args[0] = "actor"
		if err := child.Start(); err != nil {
			panic(err)
		}
		if strings.Contains(mode, "leave") {
			os.Exit(0)
		}
	}
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGHUP)
	for end := time.After(patience); ; {
		fmt.Fprintln(file, time.Now().UnixNano())
		select {
		case s := <-signals:
			fmt.Fprintln(file, s)
			if (s == syscall.SIGINT || s == syscall.SIGTERM) && !strings.Contains(mode, "deaf") {
				os.Exit(5)
			}
		case <-end:
			os.Exit(1)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// wantDeadBefore waits until another gets the lock, and complains if the actor acted after that could happen, or lives on.
func (a *actor) wantDeadBefore(s *redistest.Server, key string) {
	a.t.Helper()
	c := s.Pool().Get()
	defer c.Close()
	var free time.Time
	eventually(a.t, "the lock is free", func() bool {
		asked := time.Now()
		reply, err := redis.String(c.Do("SET", key, "other", "NX", "PX", 10000))
		if err != nil && !errors.Is(err, redis.ErrNil) {
			a.t.Fatal(err)
		}
		free = asked
		return reply == "OK"
	})
	a.wantDead(free)
}

// wantDead complains if the actor acted after that time, or still does.
func (a *actor) wantDead(by time.Time) {
	a.t.Helper()
	time.Sleep(50 * time.Millisecond) // for an act that must not come
	times, _ := a.acts()
	if len(times) == 0 {
		a.t.Fatal("it never acted")
	}
	if last := times[len(times)-1]; last.After(by) {
		a.t.Errorf("the command acted %v after the lock was free", last.Sub(by))
	}
}

// held reports whether the key is there.
func held(t *testing.T, s *redistest.Server, key string) bool {
	t.Helper()
	c := s.Pool().Get()
	defer c.Close()
	n, err := redis.Int(c.Do("EXISTS", key))
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}
