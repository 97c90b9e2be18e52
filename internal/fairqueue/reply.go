package fairqueue

import "time"

// What replies, failures and messages do to a slot: the rows of the package's table.

// Sent says when a command was sent, just before: the message that its token was granted may overtake the reply.
func (s *Slot) Sent(cmd *Command, start time.Time) {
	switch {
	case !s.names(cmd.Token):
	case cmd.Kind != Poke:
		s.t.basis, s.t.beaten = start, start
	case cmd.Beat:
		s.t.beaten = start
	}
}

// Replied goes by the reply to a command that was sent at start.
func (s *Slot) Replied(now time.Time, cmd *Command, start time.Time, r Reply, a *Actions) {
	a.reset()
	defer s.settle(now, a)
	road := &s.road
	if cmd.Kind == Check {
		road.fresh, road.unlent, s.checked = false, false, false
		if r.Said == NotMine {
			s.lost(cmd.Token, r.Err, a)
		}
		return
	}
	road.trouble, road.unlent = r.Err, false
	road.fresh = road.fresh && r.Said == Gone // what was lost was not carried out: not on such a connection again
	s.lookAtLock(now, r)
	switch cmd.Kind {
	case Quit: // whatever it says, nothing is left of the token
		if s.state == Quitting && s.t.token == cmd.Token {
			s.quitted(now)
		}
		return
	case Release:
		s.freed(now, cmd.Debt, true)
	}
	if cmd.Token != "" {
		s.told(now, cmd, start, r, a)
	}
}

// Failed goes by a command that has no reply of its own.
func (s *Slot) Failed(now time.Time, cmd *Command, o Outcome, a *Actions) {
	a.reset()
	defer s.settle(now, a)
	road := &s.road
	if cmd.Kind == Check {
		road.fresh, road.unlent, s.checked = o.Fate == Lost, o.NoneLent, false
		return
	}
	road.fresh = road.fresh || o.Fate == Lost
	if !o.Left {
		road.trouble, road.unlent = o.Err, o.NoneLent
		road.fresh = road.fresh || o.Fate == Unsent && !o.NoneLent
	}
	switch cmd.Kind {
	case Quit:
		s.unquitted(now, cmd, o, a)
		return
	case Release:
		s.freed(now, cmd.Debt, false)
		if d := s.debtOf(cmd.Debt); d != nil && o.Split && !d.alone {
			d.alone = true // the lock must not stay held for as long as its slot is moving
			d.next, d.failures = now, 0
		}
	}
	if s.names(cmd.Token) {
		s.t.busy = false
		s.unanswered(now, cmd, o, a)
	}
}

// lookAtLock learns who has the lock. If that is a token that was given up, a command of it was carried out late.
func (s *Slot) lookAtLock(now time.Time, r Reply) {
	if s.lock = (lock{r.Holder, max(r.Left, 0)}); r.Holder == "" || r.Said == Granted {
		s.lock = lock{}
		return
	}
	if g, isDead := s.dead[r.Holder]; isDead && !s.owesNow(now, r.Holder) {
		s.owe(now, g.ctx, r.Holder, g.ttl)
	}
}

// told goes by what a reply says of a token.
func (s *Slot) told(now time.Time, cmd *Command, start time.Time, r Reply, a *Actions) {
	s.road.failures = 0
	if !s.names(cmd.Token) { // a late "queued" does not undo a grant that a message brought
		if r.Said == Granted && s.h.token != cmd.Token && !s.owes(cmd.Token) {
			s.owe(now, cmd.Ctx, cmd.Token, cmd.Most)
			s.bury(now, &ticket{token: cmd.Token, ctx: cmd.Ctx, ttl: cmd.Most})
		}
		return
	}
	t := &s.t
	t.busy, t.late = false, t.late && r.Said == Gone
	switch {
	case r.Said == Granted:
		s.granted(now, s.validUntil(start, r.Left), cmd, a)
	case r.Said == Held && r.Left < 0:
		s.failAll(now, Endless, nil, a)
		s.giveUp(now)
	case r.Said == Held && cmd.Kind == Try:
		s.drop()
	case r.Said == Held:
		s.state, t.basis, t.failures = Queued, start, 0
		t.due = now.Add(s.pokeIn(r.Left, t.ttl))
		if t.again {
			t.due = now
		}
	case r.Said == Mute:
		s.failAll(now, Denied, r.Err, a)
		s.giveUp(now)
	case r.Said == NoSub && cmd.Kind == Enter: // it was not queued
		s.drop()
		s.misheard(now, start, a)
	case r.Said == NoSub: // it is queued; its basis stays, for what is not heard here is passed over
		s.state, t.due = Queued, now.Add(pokeCap)
		if t.again {
			t.due = now
		}
		s.misheard(now, start, a)
	case t.again: // gone, when this was sent; since then a message has said that it was granted
		t.due = now
	default:
		s.gone(now)
	}
}

// gone drops the token that waits: it does not.
func (s *Slot) gone(now time.Time) {
	t := s.t
	s.drop()
	s.bury(now, &t)
	s.oweAgain(now, &t)
}

// quitted drops the token that quits: its Quit is answered.
func (s *Slot) quitted(now time.Time) {
	t := s.t
	s.drop()
	s.oweAgain(now, &t)
}

// misheard has the subscription renewed. Until it stands Try asks, which is first come, first served no more. A command that
// was sent at start, before the present subscription stood, says nothing of it: to renew that would cost all slots theirs.
func (s *Slot) misheard(now, start time.Time, a *Actions) {
	if !start.Before(s.heardAt) {
		s.tryAt = now.Add(s.cfg.Pause(s.tries))
		if s.hearing == Confirmed {
			s.hearing = Making
			a.Relisten = true
		}
	}
}

// granted gives the lock to the first waiter, with d as its Deadline. cmd is the command whose reply told, nil for a message.
func (s *Slot) granted(now, d time.Time, cmd *Command, a *Actions) {
	t := s.t
	if len(s.fifo) == 0 || cmd != nil && passed(now, d) {
		s.drop()
		s.owe(now, t.ctx, t.token, t.longest())
		s.bury(now, &t)
		if len(s.fifo) > 0 && (cmd.Kind == Try || cmd.Kind == Enter) {
			s.fail(now, TooLate, nil, a)
		}
		return
	}
	x := &s.fifo[0]
	if passed(now.Add(x.TTL/2), d) && (cmd == nil || cmd.asked() < x.TTL) { // Poke refreshes it, and tells how long it is good for
		s.state, s.t.due, s.t.again, s.t.late = Queued, now, t.busy, false
		return
	}
	s.drop()
	s.deliver(now, t.token, d, t.longest(), a)
	s.passes, s.since = 0, now
}

// deliver ends the wait of the first waiter, which is the holder now. most is the longest lease that was asked of the server
// for the token.
func (s *Slot) deliver(now time.Time, token string, d time.Time, most time.Duration, a *Actions) {
	x := s.fifo[0]
	s.removeAt(now, 0)
	a.Grants = append(a.Grants, Grant{x.Who, token, d, most})
	s.hold(now, holder{x.Who, token, x.TTL, d}, a)
}

// hold makes h the slot's. If there is one with another token whose time is not over, somebody has deleted its lock.
func (s *Slot) hold(now time.Time, h holder, a *Actions) {
	if s.holds(now) && s.h.token != h.token {
		a.Losses = append(a.Losses, Loss{Who: s.h.who})
	}
	s.h, s.lock = h, lock{}
	s.heldAt(now)
}

// lost ends the holder of a token. By now another may have the lock: then it says nothing. After a hand-off without any
// command the token is the next holder's, and so is the loss.
func (s *Slot) lost(token string, err error, a *Actions) {
	if s.h.who != nil && s.h.token == token {
		a.Losses = append(a.Losses, Loss{s.h.who, err})
		s.h = holder{}
	}
}

// unanswered goes by a command that names the token that waits, and has no reply.
func (s *Slot) unanswered(now time.Time, cmd *Command, o Outcome, a *Actions) {
	t := &s.t
	switch {
	case o.Unread: // whatever it says, the token may be in the queue, or in the lock
		if len(s.fifo) > 0 {
			s.fail(now, Unclear, o.Err, a)
		}
		s.giveUp(now)
	case o.Fate == Lost, o.Fate == Unsent && cmd.Kind == Poke:
		t.late = t.late || cmd.Kind != Poke
		t.due = now.Add(s.pauseFor(o, t.failures))
		t.failures++
	case o.Fate == Unsent:
		s.drop()
		if !o.Left {
			s.road.notBefore = now.Add(s.pauseFor(o, s.road.failures))
			s.road.failures++
		}
	case cmd.Kind == Poke:
		s.failAll(now, Denied, o.Err, a)
		s.giveUp(now)
	case cmd.Kind == Release:
		s.bury(now, t)
		s.drop()
	default: // nothing was done: the scripts look for rights and types before they write
		s.drop()
		if len(s.fifo) > 0 {
			s.fail(now, Denied, o.Err, a)
		}
	}
}

// pauseFor is the pause before what has failed so often before is sent again. A slot may take minutes to move, and when it has, the
// subscription ends there, and Heard ends the pause.
func (s *Slot) pauseFor(o Outcome, failures int) time.Duration {
	if o.Split && failures >= splitsSoon {
		return pokeCap - s.cfg.Chance(pokeCap/4)
	}
	return s.cfg.Pause(failures)
}

// freed goes by what became of a Release. A refusal frees nothing: where the queue is of another type, the token is still in
// the lock.
func (s *Slot) freed(now time.Time, n uint64, confirmed bool) {
	o := s.debtOf(n)
	if o == nil { // Close has given it up
		return
	}
	if confirmed {
		o.confirm--
	}
	switch {
	case o.confirm <= 0, now.After(o.until), s.phase == closed && !o.kept:
		s.settled(n)
		return
	case confirmed:
		o.next, o.failures = now.Add(s.cfg.OpTimeout), 0
	default:
		o.next = now.Add(s.backoff(o.failures))
		o.failures++
	}
	o.busy = o.kept
}

// unquitted goes by a Quit that has no reply.
func (s *Slot) unquitted(now time.Time, cmd *Command, o Outcome, a *Actions) {
	t := &s.t
	switch {
	case s.state != Quitting || t.token != cmd.Token: // Close has given it up
		return
	case s.phase == closed:
		s.drop()
		return
	}
	t.busy = false
	t.due = now.Add(s.backoff(t.failures))
	t.failures++
	if o.Fate == Refused {
		s.failAll(now, Denied, o.Err, a)
	}
}

// Told goes by the message that a token was granted.
func (s *Slot) Told(now time.Time, token string, a *Actions) {
	a.reset()
	switch {
	case s.names(token):
		s.granted(now, s.validUntil(s.t.basis, s.t.ttl), nil, a)
	case s.h.who != nil && s.h.token == token: // to pass it on would release a lock that is held
	case s.owesNow(now, token): // it is being released
	default: // also of a token that quits: its Quit may have been carried out before the late Enter that was granted
		g, isDead := s.dead[token]
		if !isDead {
			g.ttl = time.Minute
		}
		if s.state == Quitting && s.t.token == token {
			s.t.late = false
		}
		s.owe(now, g.ctx, token, g.ttl)
	}
	s.settle(now, a)
}
