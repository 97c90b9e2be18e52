//go:build darwin || freebsd || linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// The guard is a second process of this program, which run starts before its command. It leads the process group that the
// command joins, so that it needs to know no process number, and no other group can get the number while it lives. It knows
// neither the lock nor the server, only the moment until which the group may live. When that moment passes without news, or
// the pipe of the news ends because run was killed, it ends the group: TERM, and KILL after the grace, or at the moment
// itself if that comes first. The KILL hits the guard as well.
//
// The news are numbers of 8 bytes: the moment in ns since 1970; 0 says that the command has ended by itself.

// guardName is the first argument of the guard's process. It is no verb: nobody else starts it.
const guardName = "guard"

const (
	newsFile  = 3 // the guard's end of the pipe of the news
	aliveFile = 4 // on it the guard says what follows; it is closed when the guard has ended
)

const (
	isReady  = 1 // the group is there
	isEnding = 2 // the group is told to end, and then killed
)

// pollGroup is how often the guard looks whether the group is empty, and at the clock: after a suspended machine has woken up,
// its timers are late.
const (
	pollGroup = 10 * time.Millisecond
	pollClock = 250 * time.Millisecond
)

// terminalSignals are those that a terminal or a user sends to the whole group.
var terminalSignals = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM,
	syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
}

// guardGroup is the guard's process. Its arguments are the grace, and the process group of run.
func guardGroup(args []string) int {
	signal.Ignore(terminalSignals...)
	grace, err := time.ParseDuration(args[0])
	if err != nil {
		return exitUsage
	}
	home, err := strconv.Atoi(args[1])
	if err != nil {
		return exitUsage
	}
	if err := syscall.SetNonblock(newsFile, true); err != nil { // so that reading it can be bounded
		return exitUnavailable
	}
	w := watcher{grace: grace, home: home, news: os.NewFile(newsFile, "news"), alive: os.NewFile(aliveFile, "alive")}
	until, err := w.next(time.Now().Add(time.Minute))
	if err != nil || !w.say(isReady) {
		return exitUnavailable // run has gone, and has started nothing
	}
	w.watch(until)
	return exitOK
}

// A watcher is what the guard does.
type watcher struct {
	grace time.Duration
	home  int      // the process group of run
	news  *os.File // from run
	alive *os.File // where run listens
}

// say reports whether run was told.
func (w *watcher) say(b byte) bool {
	_, err := w.alive.Write([]byte{b})
	return err == nil
}

// watch returns when the group is empty but for the guard, or ends with the group.
func (w *watcher) watch(until time.Time) {
	for {
		by := until.Add(-w.grace)
		moment, err := w.next(earlier(by, time.Now().Add(pollClock)))
		if isLate(err) && hasPassed(by) { // it may have come while this process stood still
			if moment, err = w.next(time.Now().Add(time.Millisecond)); isLate(err) {
				w.endGroup(until)
				return
			}
		}
		switch {
		case isLate(err):
		case err != nil:
			w.endGroup(earlier(time.Now().Add(w.grace), until))
			return
		case moment.IsZero():
			w.awaitEmpty(earlier(time.Now().Add(w.grace), until))
			return
		default:
			until = moment
		}
	}
}

// next waits for news until then, and returns the moment by both clocks of this process, zero when the command has ended. An
// error that is not late says that run has gone.
func (w *watcher) next(by time.Time) (moment time.Time, err error) {
	if err := w.news.SetReadDeadline(by); err != nil {
		return moment, err
	}
	var n int64
	if err := binary.Read(w.news, binary.NativeEndian, &n); err != nil || n == 0 {
		return moment, err
	}
	now := time.Now()
	return now.Add(time.Duration(n - now.UnixNano())), nil
}

func isLate(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// endGroup has the group end, and kills what is left of it then.
func (w *watcher) endGroup(by time.Time) {
	if !w.say(isEnding) {
		go fmt.Fprintln(os.Stderr, "redigolock: run was killed: its command is ended, too") // nobody may read it
	}
	_ = syscall.Kill(0, syscall.SIGTERM)
	_ = syscall.Kill(0, syscall.SIGCONT) // what is stopped takes no signal
	w.awaitEmpty(by)
}

// awaitEmpty returns when the group is empty but for the guard. When that takes too long, it kills the group and the guard.
func (w *watcher) awaitEmpty(by time.Time) {
	for !isEmptyGroup(w.home) {
		if hasPassed(by) {
			_ = syscall.Kill(0, syscall.SIGKILL)
		}
		time.Sleep(min(pollGroup, max(0, time.Until(by))))
	}
}

// isEmptyGroup reports whether nobody is in the group but the guard. The guard leaves it for that moment, for the group of run,
// which is the only other that it may be in; it does not give up its number meanwhile.
func isEmptyGroup(home int) bool {
	if err := syscall.Setpgid(0, home); err != nil {
		return false // run's group is gone
	}
	err := syscall.Kill(-os.Getpid(), 0)
	return syscall.Setpgid(0, 0) == nil && errors.Is(err, syscall.ESRCH)
}

// hasPassed reports whether t is over by the monotonic or the wall clock: the first stands still while a machine is suspended.
func hasPassed(t time.Time) bool {
	now := time.Now()
	return !now.Before(t) || !now.Round(0).Before(t.Round(0))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// A guard is the guard as run sees it.
type guard struct {
	cmd  *exec.Cmd
	news *os.File
	gone chan struct{} // closed when the guard has ended

	hasEnded bool // the guard has ended the group; to be read once it is gone
}

// startGuard returns when the guard is ready, and so its group is there. It gets no environment, which may hold a password.
func startGuard(grace time.Duration, until time.Time) (*guard, error) {
	self := "/proc/self/exe" // the same program, even if its file was replaced since
	if _, err := os.Stat(self); err != nil {
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	newsOut, news, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer newsOut.Close()
	alive, aliveIn, err := os.Pipe()
	if err != nil {
		_ = news.Close()
		return nil, err
	}
	defer aliveIn.Close()
	cmd := exec.Command(self, guardName, grace.String(), strconv.Itoa(syscall.Getpgrp()))
	cmd.Args[0] = "redigolock"
	cmd.Env = []string{}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{newsOut, aliveIn} // newsFile, aliveFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		_, _ = news.Close(), alive.Close()
		return nil, err
	}
	g := &guard{cmd: cmd, news: news, gone: make(chan struct{})}
	_ = aliveIn.Close()
	g.tell(until)
	_, err = io.ReadFull(alive, make([]byte, 1))
	go g.listen(alive)
	if err != nil {
		g.dismiss()
		g.reap()
		return nil, fmt.Errorf("the guard ended: %w", err)
	}
	return g, nil
}

// listen returns when the guard has ended.
func (g *guard) listen(alive *os.File) {
	defer close(g.gone)
	defer alive.Close()
	b := make([]byte, 1)
	for {
		if _, err := alive.Read(b); err != nil {
			return
		}
		g.hasEnded = g.hasEnded || b[0] == isEnding
	}
}

// tell tells the guard until when the group may live. A guard that is gone is noticed otherwise.
func (g *guard) tell(until time.Time) {
	now := time.Now()
	left := min(until.Sub(now), until.Round(0).Sub(now.Round(0)))
	g.send(now.Add(left).UnixNano())
}

// done tells the guard that the command has ended.
func (g *guard) done() { g.send(0) }

func (g *guard) send(n int64) {
	_ = g.news.SetWriteDeadline(time.Now().Add(time.Second)) // a guard that stands still may have a full pipe
	_ = binary.Write(g.news, binary.NativeEndian, n)
}

// dismiss has the guard end the group, as if run was gone.
func (g *guard) dismiss() { _ = g.news.Close() }

// signal sends a signal to the group, of which the guard is a part.
func (g *guard) signal(s syscall.Signal) { _ = syscall.Kill(-g.cmd.Process.Pid, s) }

// reap waits for the end of the guard. Until then no other process can get its number.
func (g *guard) reap() { _ = g.cmd.Wait() }
