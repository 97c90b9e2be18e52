//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/redigolock/redigolock/internal/redistest"
)

// openPTY opens a pseudo-terminal: what is written to keyboard is typed, and what comes on it is the screen.
func openPTY(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	var unlocked, number int32
	ioctl(t, keyboard, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	ioctl(t, keyboard, syscall.TIOCGPTN, unsafe.Pointer(&number))
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keyboard, tty
}

// A console is the command on a terminal of its own.
type console struct {
	*process
	keyboard *os.File
	seen     lockedBuffer
	dark     chan struct{} // closed when nobody has the terminal any more, and all of it was seen
}

// startOnTerminal starts a program with a terminal: the command, or a shell that is to start it as "$0".
func startOnTerminal(t *testing.T, url string, shell string, args ...string) *console {
	t.Helper()
	keyboard, tty := openPTY(t)
	if signal.Ignored(syscall.SIGINT) { // as in a job that a script has put into the background: what is started would ignore it, too
		heeded := make(chan os.Signal, 1)
		signal.Notify(heeded, syscall.SIGINT)
		t.Cleanup(func() { signal.Stop(heeded) })
	}
	s := &console{keyboard: keyboard, dark: make(chan struct{})}
	s.process = startAs(t, url, func(c *exec.Cmd) {
		if shell != "" {
			c.Args = []string{"bash", "--norc", "-c", shell, c.Path}
			c.Path = "/bin/bash"
		}
		c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	}, args...)
	_ = tty.Close()
	go func() {
		defer close(s.dark)
		_, _ = io.Copy(&s.seen, keyboard)
	}()
	return s
}

func (s *console) types(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keyboard, keys); err != nil {
		s.t.Fatal(err)
	}
}

// wantEnd is that of a process, and tells what the screen shows, and which processes are left on it.
func (s *console) wantEnd(code int) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the screen: %q\nleft: %s", &s.seen, s.left())
		}
	}()
	s.process.wantEnd(code)
}

// left are the processes of the terminal's session.
func (s *console) left() (all []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, _ := os.ReadFile(file) // it may have ended
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(s.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			all = append(all, fmt.Sprintf("%d %s %q", pid, fields[:4], commandLine(pid)))
		}
	}
	return all
}

func (s *console) shows(text string) {
	s.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(s.seen.String(), text); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the screen does not show %q: %q", text, &s.seen)
		}
	}
}

// isTheCommands waits until the terminal belongs to the command, and it goes on: it was stopped when it wanted to read, and a Ctrl-Z
// that comes before its CONT is lost. What is typed before that is for run.
func (s *console) isTheCommands() {
	s.t.Helper()
	eventually(s.t, "the command has the terminal", func() bool {
		var owner int32
		(&terminal{s.keyboard}).ioctl(syscall.TIOCGPGRP, &owner)
		return strings.HasPrefix(string(commandLine(int(owner))), "redigolock\x00guard\x00") && !isStopped(int(owner))
	})
}

// isStopped reports whether a process of the group is stopped.
func isStopped(group int) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, _ := os.ReadFile(file) // it may have ended
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) > 2 && fields[0] == "T" && fields[2] == strconv.Itoa(group) {
			return true
		}
	}
	return false
}

const ctrlC, ctrlZ = "\x03", "\x1a"

func TestCtrlCOnce(t *testing.T) {
	t.Parallel()
	s, a := redistest.Start(t), newActor(t)
	p := startOnTerminal(t, s.URL(), "", "run", "k", "--", a.path, a.file)
	a.awaitActs()
	p.types(ctrlC)
	p.wantEnd(5) // of the command, which took its time to end
	if _, signals := a.acts(); strings.Join(signals, " ") != "interrupt" {
		t.Errorf("the command got %q, want one INT", signals)
	}
	if held(t, s, "k") {
		t.Error("the lock was not released")
	}
}

func TestCtrlCTwice(t *testing.T) {
	t.Parallel()
	s, a := redistest.Start(t), newActor(t)
	p := startOnTerminal(t, s.URL(), "", "run", "k", "--", a.path, a.file, "deaf")
	a.awaitActs()
	p.types(ctrlC)
	eventually(t, "it gets it", func() bool { _, signals := a.acts(); return len(signals) == 1 })
	a.awaitActs() // it is deaf
	p.types(ctrlC)
	p.wantEnd(137)
	a.wantDeadBefore(s, "k")
}

func TestCtrlCWhileWaiting(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	mustDo(t, s, "SET", "k", "other", "PX", "100000")
	p := startOnTerminal(t, s.URL(), "", "run", "k", "--", "true")
	eventually(t, "it waits", func() bool {
		calls, err := s.Calls()
		return err == nil && calls["set"] > 3
	})
	p.types(ctrlC)
	p.wantEnd(130)
}

// The loop of a shell ends at Ctrl-C, as it does without run.
func TestCtrlCEndsTheLoopOfAShell(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := startOnTerminal(t, s.URL(), `for i in 1 2; do (exec -a redigolock "$0" run k -- sh -c 'echo "job $$"; exec sleep 30'); done; echo after`)
	p.shows("job ")
	p.types(ctrlC)
	p.wantEnd(130)
	if strings.Contains(p.seen.String(), "after") {
		t.Errorf("the loop went on: %q", &p.seen)
	}
}

// A command that reads from the terminal gets it, with its Ctrl-C and Ctrl-Z, and the shell has it again afterwards.
func TestACommandReadsFromTheTerminal(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := startOnTerminal(t, s.URL(), `set -m; run() { exec -a redigolock "$0" run k -- bash -c "$1"; }
(run 'trap "echo trapped" INT; while ! read -p "one? " x; do :; done; echo "got $x"')
(run 'read -p "two? " y; echo "got $y"'); echo "code $?"
fg; echo "code $?"; read -p "three? " z; echo "shell got $z"`)
	p.shows("one? ")
	p.isTheCommands()
	p.types(ctrlC)
	p.shows("trapped")
	p.types(ctrlC)
	p.types("first\n")
	p.shows("got first")
	p.shows("two? ")
	p.isTheCommands()
	p.types(ctrlZ)
	p.shows("code 147")
	p.isTheCommands()
	p.types("second\n")
	p.shows("got second")
	p.shows("code 0")
	p.shows("three? ")
	p.types("third\n")
	p.shows("shell got third")
	p.wantEnd(0)
}
