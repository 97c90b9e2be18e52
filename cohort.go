package redigolock

import "time"

// A Cohort bounds how a fair Locker hands a lock from one of its own waiters to the next without any command, which is
// fast, and lets other processes wait meanwhile. A hand-off is made only while at least a third of the lease, and of the next
// holder's ttl, is left; else the lease is extended first. The next holder's handle has the same token, and its fencing
// numbers are higher.
type Cohort struct {
	// Passes is how many such hand-offs may follow each other before the lock goes to whoever is first in the queue. Zero:
	// none.
	Passes int
	// Slice is how long after the server's grant they end. Zero: 5 ms.
	Slice time.Duration
}

const defaultSlice = 5 * time.Millisecond

func (c Cohort) slice() time.Duration {
	if c.Slice > 0 {
		return c.Slice
	}
	return defaultSlice
}
