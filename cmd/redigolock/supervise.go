//go:build darwin || freebsd || linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redigolock/redigolock"
)

// A supervision is a command that runs under a lock, with its guard.
type supervision struct {
	job      *job
	lock     *redigolock.Lock
	guard    *guard
	terminal *terminal

	exited  chan syscall.WaitStatus
	stopped chan syscall.Signal

	overdue   <-chan time.Time // when the group is to be killed; nil: not yet
	interrupt int              // how many INT and TERM were passed on
	killed    bool             // the group was, with its guard
	why       error            // the command was ended for that; nil: it was not
}

// start starts the command in the group of the guard.
func (s *supervision) start(vars []string) error {
	p, err := os.StartProcess(s.job.path, s.job.command, &os.ProcAttr{
		Env:   vars,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pgid: s.guard.cmd.Process.Pid},
	})
	if err != nil {
		return err
	}
	s.exited, s.stopped = make(chan syscall.WaitStatus, 1), make(chan syscall.Signal)
	go s.wait(p.Pid)
	return nil
}

// wait waits for the end of the command, and tells when it stops.
func (s *supervision) wait(pid int) {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err == nil && status.Stopped():
			s.stopped <- status.StopSignal()
		default:
			s.exited <- status
			return
		}
	}
}

// watch returns when the command and all of its group have ended.
func (s *supervision) watch(kept context.Context, renewed <-chan struct{}, signals <-chan os.Signal) (code int, err error) {
	s.terminal = openTerminal()
	defer s.terminal.close()
	suspend := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGTSTP) {
		signal.Notify(suspend, syscall.SIGTSTP)
		defer signal.Stop(suspend)
	}
	var status syscall.WaitStatus
	exited, gone, lost := s.exited, s.guard.gone, kept.Done()
	for exited != nil || gone != nil {
		select {
		case status = <-exited:
			exited = nil
			s.guard.done()
			s.overdue = time.After(s.job.grace + pollClock) // the guard kills what is left before, unless it stands still
			if gone == nil {
				s.kill() // what it left behind, and nobody guards
			}
		case <-gone:
			gone = nil
			if exited != nil {
				s.guardGone()
			}
		case <-lost:
			lost = nil
			if exited != nil {
				s.end(context.Cause(kept))
			}
		case <-renewed:
			s.guard.tell(s.job.until(s.lock))
		case sig := <-signals:
			s.passOn(sig.(syscall.Signal))
		case <-suspend:
			s.guard.signal(syscall.SIGTSTP)
			s.suspend()
		case sig := <-s.stopped:
			s.commandStopped(sig)
		case <-s.overdue:
			s.kill()
		}
	}
	if s.terminal.isOf(s.group()) {
		s.terminal.give(syscall.Getpgrp())
	}
	code = status.ExitStatus()
	if status.Signaled() {
		code = exitSignal + int(status.Signal())
	}
	if s.why == nil && s.guard.hasEnded {
		s.why = errors.New("it was not renewed in time")
	}
	if s.why != nil {
		return 0, &codedError{exitLost, fmt.Sprintf("the lock was lost, and the command was ended (%d): %s", code, message(s.why))}
	}
	return code, nil
}

func (s *supervision) group() int { return s.guard.cmd.Process.Pid }

// end has the guard end the group, and kills it if the guard does not.
func (s *supervision) end(why error) {
	if s.why != nil {
		return
	}
	s.why = why
	s.guard.dismiss()
	s.overdue = time.After(min(s.job.grace, time.Until(s.job.until(s.lock))))
}

// guardGone ends the group if its guard was killed. A guard that has ended it leaves nothing behind.
func (s *supervision) guardGone() {
	if s.guard.hasEnded || s.killed {
		return
	}
	s.end(errors.New("the second process, which guards the command, was killed"))
	s.guard.signal(syscall.SIGTERM)
	s.guard.signal(syscall.SIGCONT)
}

func (s *supervision) kill() {
	s.killed = true
	s.guard.signal(syscall.SIGKILL)
}

// passOn passes a signal on to the command. The second INT or TERM kills it.
func (s *supervision) passOn(sig syscall.Signal) {
	switch sig {
	case syscall.SIGPIPE:
		return
	case syscall.SIGINT, syscall.SIGTERM:
		if s.interrupt++; s.interrupt > 1 {
			s.kill()
			return
		}
	}
	s.guard.signal(sig)
}

// commandStopped gives the terminal to a command that has stopped because it wants to read from it, or to set it. When its
// user then stops it with Ctrl-Z, run stops too, so that the shell goes on.
func (s *supervision) commandStopped(sig syscall.Signal) {
	switch {
	case (sig == syscall.SIGTTIN || sig == syscall.SIGTTOU) && s.terminal.isOf(syscall.Getpgrp()):
		s.terminal.give(s.group())
		s.guard.signal(syscall.SIGCONT)
	case s.terminal.isOf(s.group()):
		s.terminal.give(syscall.Getpgrp())
		s.suspend()
	}
}

// suspend stops run until it is continued. The lock is not renewed meanwhile, and the guard ends the command before it ends.
func (s *supervision) suspend() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	s.guard.signal(syscall.SIGCONT)
}
