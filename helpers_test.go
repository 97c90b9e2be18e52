package redigolock_test

import (
	"sync"
	"testing"
	"time"
)

// eventually polls until ok returns true, for ten seconds at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, 10*time.Second, what, ok)
}

// within polls until ok returns true, for d at most.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// spawn runs f on a goroutine of the group.
func spawn(wg *sync.WaitGroup, f func()) {
	wg.Go(func() {
		f()
	})
}
