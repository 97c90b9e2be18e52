//go:build darwin || freebsd || linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redigolock/redigolock"
)

// A job is a call of run.
type job struct {
	env                       *env
	key                       string
	path                      string   // of the command
	command                   []string // its name and its arguments
	ttl, wait, minHold, grace time.Duration
	waits, fair               bool
	owner                     string
	busyCode                  int
	connection                *connection
}

const (
	leastRunTTL = time.Second
	mostGrace   = 5 * time.Second
)

// spare is how much earlier than the lock's Deadline the command is to have ended: as much as the Deadline is earlier than
// the end of the ttl.
func spare(ttl time.Duration) time.Duration { return ttl/100 + 2*time.Millisecond }

func run(_ context.Context, e *env, args []string) int {
	j, err := newJob(e, args)
	if err != nil {
		return e.fail(err)
	}
	code, err := j.run()
	if err != nil {
		code = e.fail(err)
	}
	if code == exitSignal+int(syscall.SIGINT) {
		dieOfInterrupt()
	}
	return code
}

// dieOfInterrupt ends this process by INT if it has a terminal, whose Ctrl-C that was: the loop of a shell goes on otherwise.
func dieOfInterrupt() {
	t := openTerminal()
	defer t.close()
	if t.isOf(syscall.Getpgrp()) {
		signal.Reset(syscall.SIGINT)
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		time.Sleep(time.Second) // it may take a moment to arrive
	}
}

// newJob reads the command line.
func newJob(e *env, args []string) (*job, error) {
	j := &job{env: e}
	fs := e.flags("run")
	fs.DurationVar(&j.ttl, "ttl", 30*time.Second, "how long the lock lasts if this host dies; it is renewed while the command runs")
	fs.DurationVar(&j.wait, "wait", 0, "wait so long for the lock, and for a server that cannot be reached (default: as long as it takes, if the server can be reached)")
	noWait := fs.Bool("no-wait", false, "exit at once if another holds the lock")
	fs.DurationVar(&j.minHold, "min-hold", 0, "keep others out for so long, even if the command ends before: it runs once though hosts start it one after the other")
	fs.BoolVar(&j.fair, "fair", false, "wait in the lock's queue: first come, first served")
	fs.DurationVar(&j.grace, "grace", 0, "time for the command to end after TERM, before KILL (default: a sixth of the ttl, at most 5s)")
	fs.IntVar(&j.busyCode, "busy-code", exitBusy, "exit `code` if another holds the lock")
	fs.StringVar(&j.owner, "owner", "", "`name` that others see as the holder (default: the host and the number of the process)")
	j.connection = connectionFlags(fs)
	words, command, err := parse(fs, args)
	if err != nil {
		return nil, err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case len(words) != 1 || len(command) == 0:
		return nil, usagef("run takes a key, and a command behind --: redigolock run KEY -- COMMAND…")
	case given["wait"] && *noWait:
		return nil, usagef("-wait and -no-wait contradict each other")
	case given["wait"] && j.wait <= 0:
		return nil, usagef("-wait is %v; -no-wait does not wait", j.wait)
	case j.grace < 0:
		return nil, usagef("-grace is negative")
	case j.ttl < leastRunTTL:
		return nil, usagef("-ttl is %v, allowed is %v to 24h", j.ttl, leastRunTTL)
	case j.fair && j.minHold > 0:
		return nil, usagef("-fair hands the lock on at once, and -min-hold keeps others out: choose one")
	case j.busyCode < 0 || j.busyCode > 255:
		return nil, usagef("-busy-code is %d, allowed is 0 to 255", j.busyCode)
	}
	j.key, j.command, j.waits = words[0], command, !*noWait
	if j.owner == "" {
		j.owner = defaultOwner()
	}
	if !given["grace"] {
		j.grace = min(j.ttl/6, mostGrace)
	}
	if most := j.ttl/2 - spare(j.ttl) - j.ttl/16; j.grace >= most {
		return nil, usagef("-grace is %v, and must be shorter than %v, which is half of the ttl less the drift of clocks and the "+
			"time of a renewal: the command must have ended before the lock does", j.grace, most)
	}
	j.path, err = findCommand(command[0])
	return j, err
}

func findCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", startError(name, err)
	}
	return path, nil
}

// startError is why a command cannot be started.
func startError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return &codedError{exitNotFound, fmt.Sprintf("there is no command %s", printable(name))}
	}
	return &codedError{exitNotExecutable, fmt.Sprintf("%s cannot be executed: %v", printable(name), errors.Unwrap(err))}
}

// run runs the command under the lock, and returns its exit code.
func (j *job) run() (code int, err error) {
	servers, err := j.connection.open(j.env)
	if err != nil {
		return 0, err
	}
	defer servers.close()
	renewed := make(chan struct{}, 1)
	l, err := servers.locker(locking{owner: j.owner, ttl: j.ttl, fair: j.fair, minHold: j.minHold, observer: &redigolock.Observer{
		Extended: func(context.Context, *redigolock.Lock, time.Duration) {
			select {
			case renewed <- struct{}{}:
			default:
			}
		},
	}})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	signals := make(chan os.Signal, 16)
	notify(signals) // to the end: a Ctrl-C while the lock is released, or a closed stderr, must not end this process before
	k, err := j.obtain(l, signals)
	if err != nil {
		return 0, err
	}
	code, err = j.runUnder(k, renewed, signals)
	freed := k.Release(context.Background())
	switch {
	case err != nil:
		return 0, err
	case errors.Is(freed, redigolock.ErrNotHeld):
		return 0, &codedError{exitLost, fmt.Sprintf("the lock was lost while the command ran, which ended with %d", code)}
	case freed != nil:
		fmt.Fprintf(j.env.stderr, "redigolock: the lock could not be released, and lasts up to %v: %s\n", j.ttl, message(freed))
	}
	return code, nil
}

// passedOn are the signals that the command gets from run.
var passedOn = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}

// notify has the signals come that are passed on, but not those that whoever started this has ignored, as nohup does: the
// command ignores them, too. A SIGPIPE comes so that it does not end run.
func notify(signals chan<- os.Signal) {
	for _, s := range append(slices.Clone(passedOn), syscall.SIGPIPE) {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
}

// obtain acquires the lock. A signal ends the wait for it.
func (j *job) obtain(l locker, signals <-chan os.Signal) (*redigolock.Lock, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if j.wait > 0 {
		ctx, cancel = context.WithTimeout(ctx, j.wait)
		defer cancel()
	}
	caught := make(chan os.Signal, 1)
	go func() {
		defer close(caught)
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGPIPE {
					continue
				}
				caught <- s
				cancel()
			case <-ctx.Done():
			}
			return
		}
	}()
	k, err := j.acquire(ctx, l)
	cancel()
	if s, ok := <-caught; ok {
		if err == nil {
			_ = k.Release(context.Background())
		}
		return nil, &codedError{exitSignal + int(s.(syscall.Signal)), "stopped while waiting for the lock"}
	}
	if errors.Is(err, redigolock.ErrHeld) {
		return nil, &codedError{j.busyCode, message(err)}
	}
	return k, err
}

// acquire waits for the lock. Where no bound was given, the first try must reach the server.
func (j *job) acquire(ctx context.Context, l locker) (*redigolock.Lock, error) {
	if j.wait == 0 {
		k, err := l.TryAcquire(ctx, j.key, j.ttl)
		if !j.waits || !errors.Is(err, redigolock.ErrHeld) {
			return k, err
		}
	}
	return l.Acquire(ctx, j.key, j.ttl)
}

// runUnder runs the command while the lock is kept alive. An error says that the command did not run, or that the lock was
// lost and the command was ended for it.
func (j *job) runUnder(k *redigolock.Lock, renewed <-chan struct{}, signals <-chan os.Signal) (code int, err error) {
	kept := k.KeepAlive(context.Background())
	vars, err := j.environment(k)
	if err != nil {
		return 0, err
	}
	g, err := startGuard(j.grace, j.until(k))
	if err != nil {
		return 0, fmt.Errorf("the guard cannot be started: %w", err)
	}
	defer g.reap()
	s := &supervision{job: j, lock: k, guard: g}
	if !k.Valid() {
		err = &codedError{exitLost, "the lock was lost before the command could be started"}
	} else if err = s.start(vars); err != nil {
		err = startError(j.command[0], err)
	}
	if err != nil {
		g.done()
		<-g.gone
		return 0, err
	}
	return s.watch(kept, renewed, signals)
}

// until is when the command is to have ended if no renewal succeeds until then.
func (j *job) until(k *redigolock.Lock) time.Time { return k.Deadline().Add(-spare(j.ttl)) }

// environment is that of the command: what leads to the server, and the token, are not in it.
func (j *job) environment(k *redigolock.Lock) ([]string, error) {
	vars := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"REDIS_URL", "REDISCLI_AUTH", tokenVariable, "REDIGOLOCK_KEY", "REDIGOLOCK_FENCE"}, name)
	})
	vars = append(vars, "REDIGOLOCK_KEY="+j.key)
	n, err := k.Fence(context.Background())
	if errors.Is(err, redigolock.ErrUnsupported) { // of a quorum
		return vars, nil
	}
	return append(vars, "REDIGOLOCK_FENCE="+strconv.FormatInt(n, 10)), err
}
