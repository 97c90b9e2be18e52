package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

// The exit codes, in the spirit of sysexits(3). Those of run's command are passed on, and may be the same numbers: run has
// -busy-code for those who must tell them apart.
const (
	exitOK            = 0
	exitNo            = 1   // the answer is no, as of who for a lock that is free
	exitUsage         = 64  // the command line is wrong; nothing was sent
	exitConflict      = 65  // the key holds something that is no lock
	exitUnavailable   = 69  // the server cannot be reached, or cannot do it now
	exitLost          = 70  // the lock was lost, or is not held by that token
	exitFile          = 74  // a file cannot be read or written
	exitBusy          = 75  // another holds the lock
	exitRefused       = 77  // the server refuses it: no password, a wrong one, or missing rights
	exitNotExecutable = 126 // run: the command cannot be executed
	exitNotFound      = 127 // run: there is no such command
	exitSignal        = 128 // plus the number of the signal that ended run's command, or this one
)

// exitCodes is the list of them in the help.
const exitCodes = `Exit codes:
  0    done
  1    the answer is no
  64   the command line is wrong; nothing was sent
  65   the key holds something that is no lock
  69   the server cannot be reached, or cannot do it now
  70   the lock was lost, or is not held by that token
  74   a file cannot be read or written
  75   another holds the lock
  77   the server refuses it: no password, a wrong one, or missing rights
  126  run: the command cannot be executed
  127  run: there is no such command
  128+n  ended by signal n
`

// A codedError is an error with an exit code of its own. Its text is what is printed; none, if it was printed before.
type codedError struct {
	code int
	text string
}

func (e *codedError) Error() string { return e.text }

// usagef is the error of a wrong command line.
func usagef(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Sprintf(format, args...)}
}

// fail prints the error as one line, and returns its exit code.
func (e *env) fail(err error) int {
	code := exitCode(err)
	if text := message(err); text != "" {
		fmt.Fprintln(e.stderr, "redigolock: "+text)
	}
	return code
}

// message is the error without the name of the package, in one line.
func message(err error) string {
	return printableLine(strings.TrimPrefix(err.Error(), "redigolock: "))
}

// exitCode is what an error stands for.
func exitCode(err error) int {
	var coded *codedError
	var refused redis.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, context.Canceled):
		return exitSignal + 2
	case errors.Is(err, redigolock.ErrHeld):
		return exitBusy
	case errors.Is(err, redigolock.ErrInvalid):
		return exitUsage
	case errors.Is(err, redigolock.ErrConflict):
		return exitConflict
	case errors.Is(err, redigolock.ErrLost), errors.Is(err, redigolock.ErrNotHeld), errors.Is(err, redigolock.ErrExpired):
		return exitLost
	case errors.As(err, &refused) && isRefusal(refused):
		return exitRefused
	}
	return exitUnavailable
}

// isRefusal reports whether the server refuses it for who asks.
func isRefusal(e redis.Error) bool {
	switch word, _, _ := strings.Cut(string(e), " "); word {
	case "NOAUTH", "WRONGPASS", "NOPERM", "DENIED":
		return true
	}
	return strings.Contains(string(e), "user executing the script") || strings.Contains(string(e), "invalid password") ||
		strings.Contains(string(e), "without any password")
}
