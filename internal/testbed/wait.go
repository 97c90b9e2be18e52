package testbed

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// Eventually polls until ok returns true, for ten seconds at most.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	Within(t, 10*time.Second, what, ok)
}

// Within polls until ok returns true, for d at most.
func Within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// Patient is a context that ends only when something hangs.
func Patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Long reports whether the tests may take minutes.
func Long() bool { return os.Getenv("REDIGOLOCK_LONG") == "1" }

// Length is short, or long where the tests may take minutes.
func Length[T any](short, long T) T {
	if Long() {
		return long
	}
	return short
}

// Many is n, and a tenth of it under the race detector, where a goroutine costs ten times as much: make more runs the tests that ask
// for many without it.
func Many(n int) int {
	if RaceEnabled && !Long() {
		return max(n/10, 1)
	}
	return n
}

// Slow leaves a test that takes a quarter of a minute to make more, which runs it without the race detector, and to make long.
func Slow(t *testing.T) {
	t.Helper()
	if testing.Short() || RaceEnabled && !Long() {
		t.Skip("it takes a quarter of a minute")
	}
}

// ErrTestCause is a cause that contexts of tests are cancelled with.
var ErrTestCause = errors.New("the request was withdrawn")

// EndedContexts are contexts that have ended in each way there is.
func EndedContexts(t *testing.T) map[string]context.Context {
	cancelled, cancel := context.WithCancel(bg)
	cancel()
	withCause, cancelCause := context.WithCancelCause(bg)
	cancelCause(ErrTestCause)
	late, cancelLate := context.WithDeadline(bg, time.Unix(1, 0))
	t.Cleanup(cancelLate)
	lateCause, cancelLateCause := context.WithDeadlineCause(bg, time.Unix(1, 0), ErrTestCause)
	t.Cleanup(cancelLateCause)
	child, cancelChild := context.WithTimeout(withCause, time.Minute)
	t.Cleanup(cancelChild)
	return map[string]context.Context{
		"cancelled": cancelled, "cancelled with cause": withCause, "deadline passed": late,
		"deadline passed with cause": lateCause, "parent cancelled with cause": child,
	}
}
