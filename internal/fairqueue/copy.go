package fairqueue

import (
	"maps"
	"slices"
	"time"
)

// What an explorer needs: to copy a slot, and to tell two apart.

// A Change is what an explorer changes in a copy, so that slots that behave in the same way become equal.
type Change struct {
	Token func(string) string       // a token's name; "" for one of the dead that nothing else names: it is forgotten
	Since func(time.Time) time.Time // a time that something has happened
	Beat  func(time.Time) time.Time // when a Poke has last beaten
	Due   func(time.Time) time.Time // a time when something is to be done
	Debt  func(uint64) uint64       // a debt's number
}

// Copy returns a slot that shares nothing with s that changes. The dead are not forgotten by time in it, and what counts
// failures, tries and hand-offs begins at zero, and how commands fare is forgotten: a Config whose Pause and Passes do not go by
// that must go with it, and a world in which all connections are alike.
func (s *Slot) Copy(cfg *Config, c Change) *Slot {
	n := *s
	n.cfg = cfg
	n.fifo, n.owed = slices.Clone(s.fifo), slices.Clone(s.owed)
	n.waited, n.since = c.Since(s.waited), c.Since(s.since)
	if n.state == Idle {
		n.t = ticket{}
	} else {
		t := &n.t
		t.token = c.Token(t.token)
		t.entry = entry(t.token, s.channel, t.ttl)
		t.basis, t.beaten, t.due, t.until = c.Since(t.basis), c.Beat(t.beaten), c.Due(t.due), c.Due(t.until)
		t.failures = 0
	}
	if s.h.who != nil {
		n.h.token, n.h.deadline = c.Token(s.h.token), c.Due(s.h.deadline)
		n.checkAt = c.Due(s.checkAt)
	} else {
		n.h, n.checkAt = holder{}, time.Time{}
	}
	for i := range n.owed {
		o := &n.owed[i]
		o.n, o.token, o.until, o.next, o.failures = c.Debt(o.n), c.Token(o.token), c.Due(o.until), c.Due(o.next), 0
	}
	n.heardAt, n.tryAt, n.tries = c.Since(s.heardAt), time.Time{}, 0
	if s.hearing == Making { // else it is set before it is looked at
		n.tryAt = c.Due(s.tryAt)
	}
	n.road = road{notBefore: c.Due(s.road.notBefore)}
	n.lock, n.passes, n.wake = lock{}, 0, c.Due(s.wake)
	n.dead = nil
	for token, g := range s.dead {
		if name := c.Token(token); name != "" {
			if n.dead == nil {
				n.dead = map[string]grave{}
			}
			n.dead[name] = g
		}
	}
	return &n
}

// Append appends what tells s from other slots of the same Locker and key to b. The names of waiters and handles must be bytes,
// tokens one byte long; at has times in one byte.
func (s *Slot) Append(b []byte, at func(time.Time) byte) []byte {
	name := func(who any) byte {
		if who == nil {
			return 255
		}
		return who.(byte)
	}
	token := func(t string) byte {
		if t == "" {
			return 0
		}
		return t[0]
	}
	bit := func(b bool) byte {
		if b {
			return 1
		}
		return 0
	}
	b = append(b, byte(s.phase), byte(s.state), byte(s.hearing), byte(len(s.fifo)), byte(len(s.owed)), byte(len(s.dead)))
	for _, x := range s.fifo {
		b = append(b, name(x.Who))
	}
	if t := &s.t; s.state != Idle {
		b = append(b, token(t.token), byte(t.ttl/time.Second), byte(t.most/time.Second), at(t.basis), at(t.beaten), at(t.due), at(t.until),
			bit(t.late)<<3|bit(t.tried)<<2|bit(t.busy)<<1|bit(t.again))
	}
	b = append(b, name(s.h.who), token(s.h.token), at(s.h.deadline), name(s.passing), at(s.checkAt), bit(s.checked))
	for _, o := range s.owed {
		b = append(b, byte(o.n), token(o.token), at(o.until), at(o.next), byte(o.confirm), bit(o.alone)<<2|bit(o.busy)<<1|bit(o.kept))
	}
	for _, t := range slices.Sorted(maps.Keys(s.dead)) {
		b = append(b, token(t))
	}
	return append(b, at(s.heardAt), at(s.tryAt), at(s.road.notBefore), at(s.wake))
}

// Tokens calls f for each token that the slot names, the dead last and in no order.
func (s *Slot) Tokens(f func(token string, dead bool)) {
	if s.state != Idle {
		f(s.t.token, false)
	}
	if s.h.who != nil {
		f(s.h.token, false)
	}
	for i := range s.owed {
		f(s.owed[i].token, false)
	}
	for token := range s.dead {
		f(token, true)
	}
}

// Debts calls f for the number of each debt, in the order in which they were made.
func (s *Slot) Debts(f func(uint64)) {
	for i := range s.owed {
		f(s.owed[i].n)
	}
}

// IsDue reports whether Wake is to be called by t.
func (s *Slot) IsDue(t time.Time) bool { return !s.wake.IsZero() && s.wake.Before(t) }
