package redigolock

import (
	"time"
)

// Stats says what a [Locker] has at this moment.
type Stats struct {
	// Held counts the locks that were obtained and may be relied on still: not released, not known to be lost, and not
	// past their Deadline. It needs no Release to go down: a lock that is left to expire counts until its Deadline.
	Held int
	// Waiting counts the calls of TryAcquire, Acquire and Attach, also in Do and TryDo, that have not returned.
	Waiting int
	// Kept counts the locks that KeepAlive keeps alive.
	Kept int
	// Owed counts the tokens that calls which have returned may have left on the server, and that are still to be removed in
	// the background; with Fair also the places in a queue.
	Owed int
	// Conns counts the connections that are not lent by the pool for one command: those of renewals, clean-ups, second tries
	// and the subscription.
	Conns int
}

// Stats returns the counts of this moment. It sends nothing.
func (l *Locker) Stats() Stats { return l.core.stats() }

func (c *core) stats() Stats {
	if !c.begun.Load() {
		return Stats{}
	}
	return Stats{
		Held:    c.held.Count(c.now()),
		Waiting: int(c.waiting.Load()),
		Kept:    c.renewer().Kept(),
		Owed:    c.cleaner().Owed() + int(c.owed.Load()),
		Conns:   int(c.conns.Load()),
	}
}

// countHeld has the lock count as held. Nobody else knows k yet.
func (k *Lock) countHeld(now time.Time) { k.place = k.core.held.Add(now, k.deadline) }

// uncountHeld has the lock count as held no longer. The caller holds k.mu.
func (k *Lock) uncountHeld() {
	if k.place > 0 {
		k.core.held.Remove(k.place, k.deadline)
		k.place = 0
	}
}

// countOwed counts what is to be removed in the background for a slot. The caller holds f.mu.
func (s *slot) countOwed() {
	n := s.q.Owed()
	s.l.owed.Add(int64(n - s.counted))
	s.counted = n
}
