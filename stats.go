package redigolock

import (
	"math"
	"sync"
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
		Held:    c.held.count(c.now()),
		Waiting: int(c.waiting.Load()),
		Kept:    c.renewer().Kept(),
		Owed:    c.cleaner().Owed() + int(c.owed.Load()),
		Conns:   int(c.conns.Load()),
	}
}

// A heldSet has the Deadlines of the locks that are held, for Stats. A handle may be dropped without a Release, by those
// who let each lock expire: so it refers to no handle, and a place is used again once its time is over.
type heldSet struct {
	mu   sync.Mutex // protects what follows; taken for moments only, and nothing else under it
	base time.Time  // what the times are counted from
	ends []end
	free []int32 // places in ends
	hand int     // the place to look at next for one whose time is over
}

// An end is a Deadline by the monotonic clock, in ns since the set's base, and by the wall clock.
type end struct{ mono, wall int64 }

var freed = end{mono: math.MinInt64}

func (h *heldSet) endAt(t time.Time) end {
	return end{int64(t.Sub(h.base)), t.UnixNano()}
}

// over is passed for an end.
func (e end) over(now end) bool { return now.mono >= e.mono || now.wall >= e.wall }

// add counts a lock until deadline, and returns its place plus 1.
func (h *heldSet) add(now, deadline time.Time) int32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base.IsZero() {
		h.base = now
	}
	if len(h.free) == 0 {
		h.reclaim(h.endAt(now))
	}
	last := len(h.free) - 1
	if last < 0 {
		h.ends = append(h.ends, h.endAt(deadline))
		return int32(len(h.ends))
	}
	place := h.free[last]
	h.free = h.free[:last]
	h.ends[place] = h.endAt(deadline)
	return place + 1
}

// reclaim looks at a few places for such whose time is over: at two for each that is added, so that there are never many.
func (h *heldSet) reclaim(now end) {
	for range min(2, len(h.ends)) {
		h.hand = (h.hand + 1) % len(h.ends)
		if h.ends[h.hand].over(now) {
			h.ends[h.hand] = freed
			h.free = append(h.free, int32(h.hand))
		}
	}
}

// move has a lock count until another time, if it is still counted until from.
func (h *heldSet) move(at int32, from, to time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.has(at, from) {
		h.ends[at-1] = h.endAt(to)
	}
}

// remove counts a lock no longer that counts until deadline.
func (h *heldSet) remove(at int32, deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.has(at, deadline) {
		h.ends[at-1] = freed
		h.free = append(h.free, at-1)
	}
}

// has reports whether the place is still that of a lock with this Deadline: once that has passed, it may be another's.
func (h *heldSet) has(at int32, deadline time.Time) bool {
	return at > 0 && h.ends[at-1] == h.endAt(deadline)
}

func (h *heldSet) count(now time.Time) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.endAt(now)
	for _, e := range h.ends {
		if !e.over(at) {
			n++
		}
	}
	return n
}

// countHeld has the lock count as held. Nobody else knows k yet.
func (k *Lock) countHeld(now time.Time) { k.place = k.core.held.add(now, k.deadline) }

// uncountHeld has the lock count as held no longer. The caller holds k.mu.
func (k *Lock) uncountHeld() {
	if k.place > 0 {
		k.core.held.remove(k.place, k.deadline)
		k.place = 0
	}
}

// countOwed counts what is to be removed in the background for a slot. The caller holds f.mu.
func (s *slot) countOwed() {
	n := s.q.Owed()
	s.l.owed.Add(int64(n - s.counted))
	s.counted = n
}
