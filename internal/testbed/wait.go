package testbed

import (
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

// Long reports whether the tests may take minutes.
func Long() bool { return os.Getenv("REDIGOLOCK_LONG") == "1" }
