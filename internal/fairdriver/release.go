package fairdriver

import (
	"context"
	"fmt"
	"time"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
)

// Release takes the next local waiter's entry along, and the server hands the lock to the first that waits. A hand-off within
// the cohort has to be made by by; then the token has the lock still, and is not freed.
func (d *Driver) Release(ctx context.Context, key string, h Handle, by time.Time) (freed bool, err error) {
	x := d.lease(ctx, h)
	x.Over = h.IsOver()
	d.mu.Lock()
	s, now := d.slotOf(key), d.env.Now()
	s.q.Released(now, x, &d.then)
	if d.then.Mine.Kind == fairqueue.Extend {
		s.users++
	}
	cmd := s.follow(now)
	d.mu.Unlock()
	if cmd.Kind == fairqueue.Extend {
		cmd = s.extendForNext(ctx, h, by, cmd.TTL)
	}
	if cmd.Kind == fairqueue.Nothing { // it was handed on
		return false, nil
	}
	done := false
	defer func() {
		if !done { // also if the user's code panics
			s.forgo(cmd.Debt)
		}
	}()
	r, err := s.perform(ctx, &cmd, h.Bound())
	if err == nil {
		done = true
		err = s.released(r, err)
		return err == nil, err
	}
	if !fault.Transient(err) {
		return false, err
	}
	cmd.Token, cmd.Entry, cmd.Own = "", "", true // an entry is queued by one command only: the slot asks what became of it
	cmd.Alone = isSplit(err)
	r, again := s.perform(ctx, &cmd, nil)
	err = fault.ReleasedAgain(err, s.released(r, again), h.IsOver)
	return err == nil, err
}

// extendForNext extends the lease for the next local waiter, until by at most, and returns what Release is to send then.
func (s *slot) extendForNext(ctx context.Context, h Handle, by time.Time, ttl time.Duration) (mine fairqueue.Command) {
	d := s.d
	var until time.Time
	returned := false
	defer func() {
		x := d.lease(ctx, h)
		x.Over = h.IsOver()
		d.mu.Lock()
		defer d.mu.Unlock()
		s.users--
		now := d.env.Now()
		if returned {
			s.q.Extended(now, until, x, &d.then)
			mine = s.follow(now)
		} else { // the user's code panics, and Release with it
			d.desert(ctx, s.key, h)
		}
	}()
	start, left, err := h.Extend(ctx, ttl, by)
	d.tell(ctx, s.key, "extend", err)
	if returned = true; err == nil {
		until = d.deadline(start, left)
	}
	return mine
}

// forgo leaves a debt to the slot: Release does not try again.
func (s *slot) forgo(debt uint64) {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.env.Now()
	s.q.Forgone(now, debt, &d.then)
	s.follow(now)
}

// released is what Release returns.
func (s *slot) released(r Reply, err error) error {
	switch {
	case err != nil:
		return err
	case r.Err != nil && r.Was:
		return fmt.Errorf("redigolock: release %s: it was handed on, but nobody could be told: %w", fault.Quote(s.key), r.Err)
	case r.Was:
		return nil
	case r.Holder != "" && r.Left < 0:
		return fault.Of(fault.Conflict, "release", s.key, "a string without TTL")
	}
	return fault.Gone("release", s.key)
}

// Lost has the next local waiter go for the lock when its local holder has lost it.
func (d *Driver) Lost(key string, h Handle) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.slots[key]; s != nil {
		now := d.env.Now()
		s.q.Ended(now, h, &d.then)
		s.follow(now)
	}
}

// Moved tells the queue that a lock was extended by a command that was sent at start, and what its Deadline is now.
func (d *Driver) Moved(key string, h Handle, start, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.slots[key]; s != nil {
		now := d.env.Now()
		s.q.Moved(now, h, start, until, &d.then)
		s.follow(now)
	}
}
