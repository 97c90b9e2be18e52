package fairqueue

import (
	"context"
	"time"
)

// What the Locker's calls, its subscription and the time do to a slot.

// Joined lets a waiter join the FIFO. Mine is the Try that it is to send itself, if any. It does not send an Enter: the message
// that it has the lock may come long before the reply.
func (s *Slot) Joined(now time.Time, x Waiter, a *Actions) {
	a.reset()
	s.waited = now
	s.fifo = append(s.fifo, x)
	if len(s.fifo) == 1 {
		s.hurry(now)
		if s.state == Idle && s.hearing != Confirmed {
			a.Mine, _ = s.nextEntry(now)
		}
	}
	s.settle(now, a)
}

// Left takes a waiter out of the FIFO.
func (s *Slot) Left(now time.Time, who any, a *Actions) {
	a.reset()
	s.remove(now, who)
	s.settle(now, a)
}

// A Handle is one whose lock is given up. Most is the longest lease that was asked of the server for it; Over says that it is
// over by what the handle knows.
type Handle struct {
	Who   any
	Token string
	TTL   time.Duration
	Most  time.Duration
	Over  bool
	Ctx   context.Context
}

// Released gives a handle's lock up. Mine is what Lock.Release is to send: a Release, which takes the next waiter along, or an
// Extend, after which Extended goes on; nothing if the lock was handed on without any command.
func (s *Slot) Released(now time.Time, k Handle, a *Actions) {
	a.reset()
	switch {
	case !s.mayPass(now, k):
		s.leave(now, k, a)
	case s.lasts(now, s.h.deadline):
		s.pass(now, s.h.deadline, k.Most, a)
	default:
		s.passing = k.Who
		a.Mine = Command{Kind: Extend, Token: k.Token, TTL: max(k.TTL, s.fifo[0].TTL), Ctx: k.Ctx}
	}
	s.settle(now, a)
}

// Extended goes on with Released: the lease lasts until d. A zero d says that the reply is lost, or that the lock is not held;
// then there is no hand-off.
func (s *Slot) Extended(now, d time.Time, k Handle, a *Actions) {
	a.reset()
	s.unpass(k)
	if !d.IsZero() && s.mayPass(now, k) && s.lasts(now, d) { // the first waiter may be another by now
		s.pass(now, d, k.Most, a)
	} else {
		s.leave(now, k, a)
	}
	s.settle(now, a)
}

// unpass ends what Released has begun with an Extend.
func (s *Slot) unpass(k Handle) {
	if s.passing == k.Who {
		s.passing = nil
	}
}

// mayPass reports whether a hand-off without any command is within its bounds. No Release was sent for the token yet: it is
// called once.
func (s *Slot) mayPass(now time.Time, k Handle) bool {
	return s.h.who != nil && s.h.who == k.Who && !k.Over && s.holds(now) && len(s.fifo) > 0 && !s.waits() && s.phase == open &&
		s.passes < s.cfg.Passes && now.Sub(s.since) < s.cfg.Slice
}

// lasts reports whether enough is left until d, by both clocks, for the first waiter to take over from the holder.
func (s *Slot) lasts(now, d time.Time) bool {
	return !passed(now.Add(max(s.h.ttl, s.fifo[0].TTL)/3), d)
}

func (s *Slot) pass(now, d time.Time, most time.Duration, a *Actions) {
	at := s.checkAt
	s.deliver(now, s.h.token, d, most, a)
	s.checkAt = at // nothing was asked of the server
	s.passes++
}

// leave takes the handle out of the slot, and makes the Release. The next waiter's entry goes along only if the handle is the
// slot's, no other entry of the slot can be queued, and the channel is heard.
func (s *Slot) leave(now time.Time, k Handle, a *Actions) {
	o := s.owe(now, k.Ctx, k.Token, k.Most)
	o.busy, o.kept = true, true
	cmd := Command{Kind: Release, Debt: o.n, Owed: o.token, Kept: true, Ctx: k.Ctx}
	if s.h.who != nil && s.h.who == k.Who {
		s.h = holder{}
		if len(s.fifo) > 0 && s.state == Idle && s.hearing == Confirmed && s.phase == open {
			s.take(now)
			along := s.naming(Release, s.t.ttl, false)
			along.Debt, along.Owed, along.Kept = cmd.Debt, cmd.Owed, true
			cmd = along
		}
	}
	a.Mine = cmd
}

// Forgone leaves a debt to the slot: Lock.Release does not try again.
func (s *Slot) Forgone(now time.Time, debt uint64, a *Actions) {
	a.reset()
	if o := s.debtOf(debt); o != nil {
		o.busy, o.kept = false, false
		if s.phase == closed { // nobody is left who would try again
			s.settled(debt)
		}
	}
	s.settle(now, a)
}

// Deserted has a handle's lock released in the background that nobody was given, or whose Release has panicked.
func (s *Slot) Deserted(now time.Time, k Handle, a *Actions) {
	a.reset()
	s.owe(now, k.Ctx, k.Token, k.Most)
	s.unpass(k)
	if s.h.who != nil && s.h.who == k.Who {
		s.h = holder{}
	}
	s.settle(now, a)
}

// Ended has the next waiter go for the lock when the holder has lost it.
func (s *Slot) Ended(now time.Time, who any, a *Actions) {
	a.reset()
	if s.h.who != nil && s.h.who == who {
		s.h = holder{}
	}
	s.settle(now, a)
}

// Moved says that a handle was extended by a command that was sent at start, and what its Deadline was then.
func (s *Slot) Moved(now time.Time, who any, start, d time.Time, a *Actions) {
	a.reset()
	if s.h.who != nil && s.h.who == who {
		if d.After(s.h.deadline) {
			s.h.deadline = d
		}
		s.heldAt(start)
	}
	s.settle(now, a)
}

// Tried goes by a TryAcquire that was granted the lock until d, and reports whether that leaves anything. Its token is not the
// slot's, for it never waits.
func (s *Slot) Tried(now time.Time, k Handle, d time.Time, a *Actions) bool {
	a.reset()
	defer s.settle(now, a)
	if passed(now, d) {
		s.owe(now, k.Ctx, k.Token, k.TTL)
		return false
	}
	s.hold(now, holder{k.Who, k.Token, k.TTL, d}, a)
	s.passes, s.since = 0, now
	return true
}

// TryLost goes by a TryAcquire that may have been granted the lock, or may be yet.
func (s *Slot) TryLost(now time.Time, k Handle, a *Actions) {
	a.reset()
	s.oweLate(now, &ticket{token: k.Token, ctx: k.Ctx, ttl: k.TTL})
	s.settle(now, a)
}

// TryRefused goes by the reply to a TryAcquire that was not granted the lock.
func (s *Slot) TryRefused(now time.Time, r Reply, a *Actions) {
	a.reset()
	s.lookAtLock(now, r)
	s.settle(now, a)
}

// Heard says that the subscription stands, anew or for the first time: a message may have been missed.
func (s *Slot) Heard(now time.Time, a *Actions) {
	a.reset()
	s.hearing, s.tries, s.heardAt = Confirmed, 0, now
	s.road.failures, s.road.notBefore = 0, time.Time{} // the server can be reached, and has the slot
	if s.waits() {
		s.t.due, s.t.again, s.t.failures = now, s.t.busy, 0
	}
	s.settle(now, a)
}

// Unheard says that the subscription's connection has ended, and that another is being made.
func (s *Slot) Unheard(now time.Time, a *Actions) {
	a.reset()
	s.hearing, s.tryAt = Making, now.Add(s.cfg.Pause(s.tries))
	s.settle(now, a)
}

// Silenced says that the subscription has ended, for nobody needs it.
func (s *Slot) Silenced(now time.Time, a *Actions) {
	a.reset()
	s.hearing = Deaf
	s.settle(now, a)
}

// Refused says why no subscription can be had; forGood ends it, and every wait.
func (s *Slot) Refused(now time.Time, err error, forGood bool, a *Actions) {
	a.reset()
	if s.road.trouble = err; forGood {
		s.failAll(now, Denied, err, a)
		s.hearing = Deaf
	}
	s.settle(now, a)
}

// Wake says that time has passed.
func (s *Slot) Wake(now time.Time, a *Actions) {
	a.reset()
	s.settle(now, a)
}

// Elsewhere says that the server may be another one from now on, or is back: what is retried in the background goes soon.
func (s *Slot) Elsewhere(now time.Time, a *Actions) {
	a.reset()
	s.hurry(now)
	s.settle(now, a)
}

// Closing says that the Locker is being closed: its waiters leave, and Close waits for what is owed or given up.
func (s *Slot) Closing(now time.Time, a *Actions) {
	a.reset()
	s.phase = closing
	s.hurry(now)
	s.settle(now, a)
}

// Closed says that Close does not wait any longer.
func (s *Slot) Closed(now time.Time, a *Actions) {
	a.reset()
	s.phase, s.owed = closed, nil
	if s.state == Quitting {
		s.drop()
	}
	s.settle(now, a)
}
