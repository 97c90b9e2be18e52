package redigolock

import (
	"context"
	"errors"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// What replies, messages and failures do to a slot: the rows of the table in internal/fairmodel. The caller of each func
// holds f.mu, and calls settle afterwards.

// answered goes by what became of a command. r counts if err is nil.
func (s *slot) answered(ctx context.Context, cmd command, start time.Time, r fairReply, err error) {
	switch {
	case cmd.kind == check:
		s.fresh, s.unlent = errors.Is(err, ErrUnknown), errors.Is(err, ErrUnavailable)
		s.lookedAfter(cmd.h, err)
		return
	case err == nil:
		s.trouble, s.unlent = r.deaf, false
		s.fresh = s.fresh && r.said == saysGone // what was lost was not carried out: not on such a connection again
		s.lookAtHolder(r)
	case errors.Is(err, ErrUnknown):
		s.fresh = true
		fallthrough
	default:
		if ctx.Err() == nil { // else it is one waiter's own matter
			s.trouble, s.unlent = err, errors.Is(err, ErrUnavailable)
			s.fresh = s.fresh || fateOf(ctx, err) == unsent && !s.unlent
		}
	}
	switch {
	case cmd.kind == quit:
		s.quitted(ctx, cmd.t, err)
		return
	case cmd.kind == rel:
		s.freed(cmd.o, err)
	}
	if t := cmd.t; t != nil {
		t.busy = false
		if err != nil {
			s.unanswered(ctx, cmd, err)
		} else {
			s.told(cmd, start, r)
		}
	}
}

// lookAtHolder learns who has the lock. If that is a token that was given up, a command of it was carried out late.
func (s *slot) lookAtHolder(r fairReply) {
	g, isDead := s.dead[r.holder]
	switch {
	case r.holder == "" || r.said == saysGranted:
		s.held = nil
		return
	case isDead && !s.owes(r.holder):
		s.owe(g.ctx, r.holder, g.ttl)
	}
	s.held = &HeldError{Key: s.key, Holder: holderOf(r.holder), TTL: max(r.left, 0)}
}

// heldBy is the error of a TryAcquire that was told who has the lock. Here f.mu is not held, and concludeTry settles.
func (s *slot) heldBy(r fairReply) error {
	f := &s.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	s.lookAtHolder(r)
	return &HeldError{Key: s.key, Holder: holderOf(r.holder), TTL: max(r.left, 0)}
}

// told goes by what a reply says of a ticket.
func (s *slot) told(cmd command, start time.Time, r fairReply) {
	t, now := cmd.t, time.Now()
	s.failures = 0
	switch {
	case s.w != t && r.said != saysGranted: // a late "queued" does not undo a grant that a message brought
	case s.w != t:
		if (s.h == nil || s.h.token != t.token) && !s.owes(t.token) {
			s.owe(t.ctx, t.token, t.longest())
			s.bury(t)
		}
	case r.said == saysGranted:
		s.granted(t, deadline(start, r.left), cmd)
	case r.said == saysHeld && r.left < 0:
		s.failAll(fault.Of(ErrConflict, "acquire", s.key, "a string without TTL"))
		s.giveUp(t)
	case r.said == saysHeld && cmd.kind == try:
		s.w = nil
	case r.said == saysHeld:
		t.placed, t.basis, t.failures = true, start, 0
		t.due = now.Add(pokeIn(r.left, t.ttl))
		if t.again {
			t.due = now
		}
	case r.said == saysNoSub && cmd.kind == enter: // it was not queued
		s.w = nil
		s.misheard(start, now)
	case r.said == saysNoSub: // it is queued; its basis stays, for what is not heard here is passed over
		t.placed, t.due = true, now.Add(pokeCap)
		if t.again {
			t.due = now
		}
		s.misheard(start, now)
	case t.again: // gone, when this was sent; since then a message has said that it was granted
		t.due = now
	default: // gone
		s.w = nil
		s.bury(t)
		if t.tried { // its TRY may still be on its way
			o := s.owe(t.ctx, t.token, t.longest())
			o.next, o.own = now.Add(s.l.opTimeout()), true
		}
	}
}

// misheard has the subscription renewed. Until it stands TRY asks, which is first come, first served no more. A command that
// was sent at start, before the present subscription stood, says nothing of it: to renew that would cost all slots theirs.
func (s *slot) misheard(start, now time.Time) {
	if start.After(s.heardAt) {
		s.tryAt = now.Add(pauseAfter(s.tries))
		s.l.state.fair.line.renew(s)
	}
}

// granted gives the lock to the head, with d as its Deadline. cmd is the command whose reply told, none for a message.
func (s *slot) granted(t *ticket, d time.Time, cmd command) {
	now, x := s.l.now(), s.head
	switch {
	case x == nil, cmd.kind != nothing && passed(now, d):
		s.w = nil
		s.owe(t.ctx, t.token, t.longest())
		s.bury(t)
		if x != nil && (cmd.kind == try || cmd.kind == enter) {
			s.fail(x, tooLate("acquire", s.key, x.ttl))
		}
	case passed(now.Add(x.ttl/2), d) && cmd.ttl < x.ttl: // POKE refreshes it, and tells how long it is good for
		t.placed, t.due, t.again = true, time.Now(), t.busy
	default:
		s.w = nil
		s.deliver(x, t.token, d, t.longest())
		s.passes, s.since = 0, now
	}
}

// deliver makes a handle for x, and ends its wait. most is the longest ttl that was asked of the server for the token.
func (s *slot) deliver(x *waiter, token string, d time.Time, most time.Duration) {
	k := &Lock{locker: s.l, key: s.key, token: token, ttl: x.ttl, most: most, acquired: s.l.now(), deadline: d}
	k.conn.key, k.conn.token = s.keyArg, token
	k.countHeld(k.acquired)
	s.hold(k)
	s.remove(x)
	x.lock = k
	close(x.done)
}

// hold makes k the slot's handle. If there is one with another token whose time is not over, somebody has deleted its lock.
func (s *slot) hold(k *Lock) {
	if old := s.h; old != nil && old.token != k.token && !old.isOver() {
		old.latch()
		go old.lose(notHeld("acquire", s.key)) // it calls the user, who may call the Locker
	}
	s.h, s.held, s.renewed = k, nil, 0
	s.heldAt(time.Now())
}

// latch ends the handle: it says ErrNotHeld from now on.
func (k *Lock) latch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	k.uncountHeld()
}

// unanswered goes by a command that names a ticket and has no reply of its own.
func (s *slot) unanswered(ctx context.Context, cmd command, err error) {
	t, now := cmd.t, time.Now()
	what := fateOf(ctx, err)
	switch {
	case s.w != t:
	case errors.Is(err, errUnread): // whatever it says, the token may be in the queue, or in the lock
		if s.head != nil {
			s.fail(s.head, alsoUnknown(err))
		}
		s.giveUp(t)
	case what == lost, what == unsent && cmd.kind == poke:
		t.due = now.Add(pauseAfter(t.failures))
		t.failures++
	case what == unsent:
		s.w = nil
		if ctx.Err() == nil {
			s.notBefore = now.Add(pauseAfter(s.failures))
			s.failures++
		}
	case cmd.kind == poke:
		s.failAll(err)
		s.giveUp(t)
	case cmd.kind == rel:
		s.w = nil
		s.bury(t)
	default: // nothing was done: the scripts look for rights and types before they write
		s.w = nil
		if s.head != nil {
			s.fail(s.head, err)
		}
	}
}

// freed goes by what became of a REL. ErrConflict frees nothing: where the queue is of another type, the token is still in the
// lock.
func (s *slot) freed(o *debt, err error) {
	now := time.Now()
	if err == nil {
		o.confirm--
	}
	switch {
	case o.confirm <= 0, now.After(o.until), s.l.state.fair.closed && !o.kept:
		s.settled(o)
		return
	case err == nil:
		o.next, o.failures = now.Add(s.l.opTimeout()), 0
	default:
		o.next = now.Add(s.backoff(o.failures))
		o.failures++
	}
	o.busy = o.kept
}

// lookedAfter goes by what a CHECK said of a holder. By now another may have the lock: then it says nothing. After a cohort's
// hand-off the token is the next holder's, and so is the loss.
func (s *slot) lookedAfter(k *Lock, err error) {
	s.checked = false
	if !errors.Is(err, ErrNotHeld) && (!errors.Is(err, ErrConflict) || errors.Is(err, fault.NoTTL)) || s.h == nil || s.h.token != k.token {
		return
	}
	s.h.latch()
	go s.h.lose(err) // it calls the user, who may call the Locker
	s.h = nil
}

// settled takes a debt off the list.
func (s *slot) settled(o *debt) {
	for i, other := range s.owed {
		if other == o {
			s.owed = append(s.owed[:i], s.owed[i+1:]...)
			return
		}
	}
}

// quitted goes by what became of a QUIT. Any reply but an error says that nothing is left of the token.
func (s *slot) quitted(ctx context.Context, t *ticket, err error) {
	t.busy = false
	if err == nil || s.l.state.fair.closed {
		s.quit = nil
		return
	}
	t.due = time.Now().Add(s.backoff(t.failures))
	t.failures++
	if fateOf(ctx, err) == refused {
		s.failAll(err)
	}
}

// backoff is the pause before what is retried in the background: short while somebody waits for it, as Close does.
func (s *slot) backoff(failures int) time.Duration {
	if s.head != nil || failures < 5 || s.l.state.closed.Load() {
		return pauseAfter(failures)
	}
	return min(renewPause<<min(failures, 12), 30*time.Second)
}

// message goes by the message that a token was granted.
func (s *slot) message(token string) {
	t := s.w
	switch {
	case t != nil && t.token == token:
		s.granted(t, deadline(t.basis, t.ttl), command{})
	case s.h != nil && s.h.token == token: // to pass it on would release a lock that is held
	case s.owes(token): // it is being released
	default: // also of a token that quits: its QUIT may have been carried out before the late ENTER that was granted
		g, isDead := s.dead[token]
		if !isDead {
			g.ttl = time.Minute
		}
		s.owe(g.ctx, token, g.ttl)
	}
}

// heardNow says that the subscription stands, anew or for the first time: a message may have been missed.
func (s *slot) heardNow() {
	s.sub, s.tries, s.heardAt = confirmed, 0, s.l.now()
	if t := s.w; t != nil {
		t.due, t.again = time.Now(), t.busy
	}
}
