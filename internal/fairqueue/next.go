package fairqueue

import "time"

// What is to be sent next for a slot.

// next claims the next command, or says when there may be one.
func (s *Slot) next(now time.Time) (cmd Command, at time.Time) {
	if cmd, at = s.nextOwed(now); cmd.Kind != Nothing {
		return cmd, at
	}
	var then time.Time
	if s.waits() {
		cmd, then = s.nextOfWaiting(now)
	}
	if cmd.Kind == Nothing {
		switch s.state {
		case Quitting:
			cmd, then = s.nextOfQuitting(now)
		case Idle:
			cmd, then = s.nextEntry(now)
		}
	}
	return cmd, earlier(at, then)
}

// nextOwed claims a Release that is due.
func (s *Slot) nextOwed(now time.Time) (cmd Command, at time.Time) {
	for i := range s.owed {
		switch o := &s.owed[i]; {
		case o.busy:
		case o.next.After(now):
			at = earlier(at, o.next)
		default:
			o.busy = true
			return Command{Kind: Release, Debt: o.n, Owed: o.token, Own: s.dials() || o.own, Alone: o.alone, Ctx: o.ctx}, at
		}
	}
	return cmd, at
}

// nextOfWaiting is next for a slot that is entering or queued: Poke when it is due. When the last waiter has left, the token
// is given up.
func (s *Slot) nextOfWaiting(now time.Time) (cmd Command, at time.Time) {
	t := &s.t
	switch {
	case t.busy: // the next waiter may yet inherit it
	case len(s.fifo) == 0 && t.tried:
		s.oweLate(now, t)
		s.drop()
		return s.nextOwed(now)
	case len(s.fifo) == 0:
		s.giveUp(now)
	case s.phase != open: // they are all leaving
	case t.due.After(now):
		return cmd, t.due
	default:
		x := &s.fifo[0]
		t.busy, t.again, t.most, t.ctx = true, false, max(t.most, x.TTL), x.Ctx
		cmd = s.naming(Poke, x.TTL, s.dials())
		cmd.Beat = now.Sub(t.beaten) >= beatEvery
	}
	return cmd, at
}

// naming is a command that names the token that waits or quits.
func (s *Slot) naming(kind Kind, ttl time.Duration, own bool) Command {
	t := &s.t
	return Command{Kind: kind, Token: t.token, Entry: t.entry, TTL: ttl, Most: t.longest(), Own: own, Ctx: t.ctx}
}

// nextOfQuitting is next for a slot whose token was given up.
func (s *Slot) nextOfQuitting(now time.Time) (cmd Command, at time.Time) {
	switch t := &s.t; {
	case t.busy:
		return cmd, at
	case len(s.fifo) == 0 && now.After(t.until): // its channel is heard no longer, so its entry will be passed over
		s.drop()
		return cmd, at
	case t.due.After(now):
		return cmd, t.due
	}
	s.t.busy = true
	return s.naming(Quit, 0, s.dials()), at
}

// nextEntry has the first waiter go the way of Acquire.
func (s *Slot) nextEntry(now time.Time) (cmd Command, at time.Time) {
	if len(s.fifo) == 0 || s.passing != nil || s.phase != open {
		return cmd, at
	}
	if s.holds(now) { // its Release will take the first waiter along. If there is none:
		return s.nextBehind(now)
	}
	kind := Try
	switch r := &s.road; {
	case r.notBefore.After(now):
		return cmd, r.notBefore
	case s.hearing == Confirmed:
		kind = Enter
	case s.hearing == Making && s.tryAt.After(now):
		return cmd, s.tryAt
	}
	s.take(now)
	if kind == Try {
		s.t.tried = true
		s.tryAt = now.Add(s.cfg.Pause(s.tries))
		s.tries++
	}
	cmd = s.naming(kind, s.t.ttl, s.road.fresh)
	cmd.Who = s.fifo[0].Who
	return cmd, at
}

// nextBehind is nextEntry behind a holder of the slot's own. The lock may be gone without its knowing, deleted, or attached to
// and released elsewhere: so it is asked after when it has not been known to be held for a while.
func (s *Slot) nextBehind(now time.Time) (cmd Command, at time.Time) {
	left := s.h.deadline.Sub(now)
	at = now.Add(min(max(left, time.Millisecond), pokeCap)) // the machine may be suspended meanwhile
	switch {
	case s.checked:
	case s.checkAt.After(now):
		at = earlier(at, s.checkAt)
	default:
		s.checked = true
		s.heldAt(now) // if no answer comes, it is asked after again when as much time has passed
		return Command{Kind: Check, Token: s.h.token, TTL: time.Millisecond, Own: s.dials(), Ctx: s.fifo[0].Ctx}, at
	}
	return cmd, at
}
