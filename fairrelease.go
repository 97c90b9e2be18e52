package redigolock

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
)

// release takes the next local waiter's entry along, and the server hands the lock to the first that waits. A hand-off within
// the cohort has to be made by by.
func (l *fair) release(ctx context.Context, k *Lock, by time.Time) error {
	h := k.handle(ctx)
	h.Over = k.isOver()
	l.mu.Lock()
	s, now := l.slotOf(k.key), l.now()
	s.q.Released(now, h, &l.then)
	if l.then.Mine.Kind == fairqueue.Extend {
		s.users++
	}
	cmd := s.follow(now)
	l.mu.Unlock()
	if cmd.Kind == fairqueue.Extend {
		cmd = s.extendForNext(ctx, k, by, &cmd)
	}
	if cmd.Kind == fairqueue.Nothing { // it was handed on
		return nil
	}
	done := false
	defer func() {
		if !done { // also if the user's code panics
			s.forgo(cmd.Debt)
		}
	}()
	r, err := l.perform(ctx, s, &cmd, &k.conn)
	if err == nil {
		done = true
		return k.releasedFair(r, err)
	}
	if !fault.Transient(err) {
		return err
	}
	cmd.Token, cmd.Entry, cmd.Own = "", "", true // an entry is queued by one command only: the slot asks what became of it
	cmd.Alone = isSplit(err)
	r, again := l.perform(ctx, s, &cmd, nil)
	return releasedAgain(err, k.releasedFair(r, again), k.isOver)
}

// extendForNext extends the lease for the next local waiter, until by at most, and returns what Release is to send then.
func (s *slot) extendForNext(ctx context.Context, k *Lock, by time.Time, cmd *fairqueue.Command) (mine fairqueue.Command) {
	var left time.Duration
	var d time.Time
	returned := false
	defer func() {
		h := k.handle(ctx)
		h.Over = k.isOver()
		f := s.l
		f.mu.Lock()
		defer f.mu.Unlock()
		s.users--
		now := s.l.now()
		if returned {
			s.q.Extended(now, d, h, &f.then)
			mine = s.follow(now)
		} else { // the user's code panics, and Release with it
			f.desert(ctx, k)
		}
	}()
	start, err := s.l.askBy(ctx, &k.claim, "extend", by, func(c redis.Conn) (err error) {
		k.asked(cmd.TTL)
		left, err = s.l.extendOn(ctx, c, k, cmd.TTL)
		return err
	})
	s.l.observer.outcome(ctx, k.key, "extend", err)
	if returned = true; err == nil {
		d = deadline(start, left)
	}
	return mine
}

// forgo leaves a debt to the slot: Release does not try again.
func (s *slot) forgo(debt uint64) {
	f := s.l
	f.mu.Lock()
	defer f.mu.Unlock()
	now := s.l.now()
	s.q.Forgone(now, debt, &f.then)
	s.follow(now)
}

// releasedFair is what Release returns.
func (k *Lock) releasedFair(r fairReply, err error) error {
	switch {
	case err != nil:
		return err
	case r.Err != nil && r.was:
		return fmt.Errorf("redigolock: release %s: it was handed on, but nobody could be told: %w", fault.Quote(k.key), r.Err)
	case r.was:
		return nil
	case r.Holder != "" && r.Left < 0:
		return fault.Of(ErrConflict, "release", k.key, "a string without TTL")
	}
	return fault.Gone("release", k.key)
}

// lost has the next local waiter go for the lock when its local holder has lost it.
func (l *fair) lost(k *Lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.slots[k.key]; s != nil {
		now := l.now()
		s.q.Ended(now, k, &l.then)
		s.follow(now)
	}
}

// moved tells the queue that the lock was extended by a command that was sent at start.
func (l *fair) moved(k *Lock, start, d time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.slots[k.key]; s != nil {
		now := l.now()
		s.q.Moved(now, k, start, d, &l.then)
		s.follow(now)
	}
}

// isOver reports whether the lock is gone or its Deadline has passed.
func (k *Lock) isOver() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.latched(k.core.now())
}

// asked notes the longest lease that may have been asked of the server for the token.
func (k *Lock) asked(ttl time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.most = max(k.most, ttl)
}
