package redigolock

import (
	"context"
	"fmt"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// releaseFair is release for a fair Locker: the next local waiter's entry goes along, and the server hands the lock to the
// first that waits. A hand-off within the cohort has to be made by by.
func (k *Lock) releaseFair(ctx context.Context, by time.Time) error {
	l := k.locker
	f := &l.state.fair
	f.mu.Lock()
	s := l.slotOf(k.key)
	if l.Cohort.Passes > 0 && s.passOn(ctx, k, by) {
		s.settle()
		f.mu.Unlock()
		return nil
	}
	cmd := s.leaving(ctx, k)
	s.settle()
	f.mu.Unlock()
	done := false
	defer func() {
		if !done { // also if the user's code panics
			s.forgo(cmd.o)
		}
	}()
	r, err := l.perform(ctx, s, cmd, &k.conn)
	if err == nil {
		done = true
		return k.releasedFair(r, err)
	}
	if !fault.Transient(err) {
		return err
	}
	cmd.t, cmd.fresh = nil, true // an entry is queued by one command only: the slot asks what became of it
	r, again := l.perform(ctx, s, cmd, nil)
	return k.releasedAgain(err, k.releasedFair(r, again))
}

// leaving takes the handle out of its slot, and makes the REL. The next waiter's entry goes along only if the handle is the
// slot's, no other entry of the slot can be queued, and the channel is heard.
func (s *slot) leaving(ctx context.Context, k *Lock) command {
	o := s.owe(ctx, k.token, k.longest())
	o.busy, o.kept = true, true
	cmd := command{kind: rel, o: o}
	if s.h != k {
		return cmd
	}
	s.h = nil
	if s.head != nil && s.w == nil && s.quit == nil && s.sub == confirmed && !s.l.state.closed.Load() {
		s.w = s.newTicket(s.head)
		cmd.t = s.w
	}
	return cmd
}

// forgo leaves a debt to the slot: Release does not try again.
func (s *slot) forgo(o *debt) {
	f := &s.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	o.busy, o.kept = false, false
	if f.closed { // nobody is left who would try again
		s.settled(o)
	}
	s.settle()
}

// releasedFair is what Release returns.
func (k *Lock) releasedFair(r fairReply, err error) error {
	switch {
	case err != nil:
		return err
	case r.deaf != nil && r.was:
		return fmt.Errorf("redigolock: release %s: it was handed on, but nobody could be told: %w", fault.Quote(k.key), r.deaf)
	case r.was:
		return nil
	case r.holder != "" && r.left < 0:
		return fault.Of(ErrConflict, "release", k.key, "a string without TTL")
	}
	return notHeld("release", k.key)
}

// lostFair has the next local waiter go for the lock when its local holder has lost it.
func (k *Lock) lostFair() {
	f := &k.locker.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.slots[k.key]; s != nil && s.h == k {
		s.h = nil
		s.settle()
	}
}

// isOver reports whether the lock is gone or its Deadline has passed.
func (k *Lock) isOver() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over(k.locker.now())
}

// sinceRenewed is how long ago the newest Extend was sent that succeeded, and when that was, after the acquire.
func (k *Lock) sinceRenewed() (age, renewed time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locker.now().Sub(k.acquired) - k.renewed, k.renewed
}
