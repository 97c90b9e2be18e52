// Package wait has the pauses between tries, and what goroutines wait with.
package wait

import (
	"time"

	"github.com/redigolock/redigolock/internal/hooks"
)

// The pause after a first failure, and the longest.
const (
	First = 10 * time.Millisecond
	Most  = 250 * time.Millisecond
)

// Pause is the jittered pause after so many failures in a row before this one: it doubles from First to Most.
func Pause(failures int) time.Duration {
	pause := min(First<<min(failures, 10), Most)
	return pause/2 + hooks.N(pause/2+1)
}

// Wake tells whoever receives from ch, which has the capacity 1, to look again.
func Wake(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it has been told already
	}
}

// For waits until all ends are closed, for d at most.
func For(d time.Duration, ends ...<-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, end := range ends {
		select {
		case <-end:
		case <-timer.C:
			return
		}
	}
}

// IsClosed reports whether ch, on which nothing is sent, is closed.
func IsClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
