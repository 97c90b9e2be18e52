package locktest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/locktest"
)

// A recorder is a test that notes what fails it, and may end before its own.
type recorder struct {
	testing.TB
	mu       sync.Mutex // protects what follows
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// record runs f as a test of its own, with its clean-ups, and returns what failed it.
func record(t testing.TB, f func(t testing.TB)) []string {
	r := &recorder{TB: t}
	run := func(f func()) {
		var done sync.WaitGroup
		done.Go(f)
		done.Wait()
	}
	run(func() { f(r) })
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		run(f)
	}
	return r.failures
}

// inBothTimes runs f in a bubble, and in real time.
func inBothTimes(t *testing.T, f func(t *testing.T)) {
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, f) })
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		f(t)
	})
}

var bg = context.Background()

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB) func(k *redigolock.Lock, err error) *redigolock.Lock {
	return func(k *redigolock.Lock, err error) *redigolock.Lock {
		t.Helper()
		ok(t, err)
		return k
	}
}

// held is the keys of the locks and their owners.
func held(s *locktest.Server) string {
	var list []string
	for _, info := range s.Locks() {
		list = append(list, info.Key+"="+info.Owner)
	}
	return strings.Join(list, " ")
}

// took checks how much of the bubble's time f takes, to the millisecond.
func took(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d.Round(time.Millisecond) != want {
		t.Errorf("%s took %v, want %v", what, d, want)
	}
}
