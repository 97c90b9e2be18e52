package redigolock

import "time"

// What is to be sent next for a slot. The caller of each func holds f.mu, and sends what it claims.

// first claims the TRY that a waiter that has just come sends itself. It does not send an ENTER: the message that it has the
// lock may come long before the reply.
func (s *slot) first(x *waiter) command {
	if s.head != x || s.w != nil || s.quit != nil || s.sub == confirmed {
		return command{}
	}
	cmd, _ := s.nextEntry(time.Now())
	return cmd
}

// next claims the next command, or says when there may be one.
func (s *slot) next(now time.Time) (cmd command, at time.Time) {
	for _, o := range s.owed {
		switch {
		case o.busy:
		case o.next.After(now):
			at = earlier(at, o.next)
		default:
			o.busy = true
			return command{kind: rel, o: o, fresh: s.dials() || o.own, ctx: o.ctx}, at
		}
	}
	var then time.Time
	if s.w != nil {
		cmd, then = s.nextOfWaiting(now)
	}
	if s.w == nil && cmd.kind == nothing {
		cmd, then = s.nextWithout(now)
	}
	return cmd, earlier(at, then)
}

// nextOfWaiting is next for a slot that is entering or queued: POKE when it is due. When the last waiter has left, the token
// is given up; the next call says how.
func (s *slot) nextOfWaiting(now time.Time) (cmd command, at time.Time) {
	t := s.w
	switch {
	case t.busy: // the next waiter may yet inherit it
	case s.head == nil && t.tried:
		s.w = nil
		s.oweLate(t)
		return s.next(now)
	case s.head == nil:
		s.giveUp(t)
	case s.l.state.closed.Load(): // they are all leaving
	case t.due.After(now):
		return cmd, t.due
	default:
		t.busy, t.again, t.most, t.ctx = true, false, max(t.most, s.head.ttl), s.head.ctx
		return command{kind: poke, t: t, ttl: s.head.ttl, fresh: s.dials(), ctx: t.ctx}, at
	}
	return cmd, at
}

// giveUp has the slot QUIT its token.
func (s *slot) giveUp(t *ticket) {
	s.w, s.quit = nil, t
	now := time.Now()
	t.due, t.failures, t.until = now, 0, now.Add(t.longest()+time.Minute)
	s.bury(t)
}

// nextWithout is next for a slot without a waiting token.
func (s *slot) nextWithout(now time.Time) (cmd command, at time.Time) {
	t := s.quit
	switch {
	case t == nil:
		return s.nextEntry(now)
	case t.busy:
		return cmd, at
	case s.head == nil && now.After(t.until): // its channel is heard no longer, so its entry will be passed over
		s.quit = nil
		return cmd, at
	case t.due.After(now):
		return cmd, t.due
	}
	t.busy = true
	return command{kind: quit, t: t, fresh: s.dials(), ctx: t.ctx}, at
}

// nextEntry has the head go the way of Acquire.
func (s *slot) nextEntry(now time.Time) (cmd command, at time.Time) {
	x := s.head
	if x == nil || s.passing || s.l.state.closed.Load() {
		return cmd, at
	}
	if s.h != nil && !s.h.isOver() { // its Release will take the head along. If there is none:
		return s.nextBehind(now)
	}
	switch {
	case s.notBefore.After(now):
		return cmd, s.notBefore
	case s.sub == confirmed:
		s.w = s.newTicket(x)
		return command{kind: enter, t: s.w, fresh: s.fresh, ctx: x.ctx}, at
	case s.sub == making && s.tryAt.After(now):
		return cmd, s.tryAt
	}
	s.w = s.newTicket(x)
	s.w.tried = true
	s.tryAt = now.Add(pauseAfter(s.tries))
	s.tries++
	return command{kind: try, t: s.w, fresh: s.fresh, ctx: x.ctx}, at
}

// nextBehind is nextEntry behind a holder of the slot's own. The lock may be gone without its knowing, deleted, or attached to
// and released elsewhere: so it is asked after when it has not been known to be held for a while.
func (s *slot) nextBehind(now time.Time) (cmd command, at time.Time) {
	if age, renewed := s.h.sinceRenewed(); renewed != s.renewed {
		s.renewed = renewed
		s.heldAt(now.Add(-age))
	}
	left := s.h.Deadline().Sub(s.l.now())
	at = now.Add(min(max(left, time.Millisecond), pokeCap)) // the machine may be suspended meanwhile
	switch {
	case s.checked:
	case s.checkAt.After(now):
		at = earlier(at, s.checkAt)
	default:
		s.checked = true
		s.heldAt(now) // if no answer comes, it is asked after again when as much time has passed
		return command{kind: check, h: s.h, fresh: s.dials(), ctx: s.head.ctx}, at
	}
	return cmd, at
}

// earlier is the earlier of two times that are known.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
