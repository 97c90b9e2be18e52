package redigolock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Cohort bounds how a fair Locker hands a lock from one of its own waiters to the next without any command, which is
// fast, and lets other processes wait meanwhile. A hand-off is made only while at least a third of the lease, and of the next
// holder's ttl, is left; else the lease is extended first. The next holder's handle has the same token, and its fencing
// numbers are higher.
type Cohort struct {
	// Passes is how many such hand-offs may follow each other before the lock goes to whoever is first in the queue. Zero:
	// none.
	Passes int
	// Slice is how long after the server's grant they end. Zero: 5 ms.
	Slice time.Duration
}

const defaultSlice = 5 * time.Millisecond

func (c Cohort) slice() time.Duration {
	if c.Slice > 0 {
		return c.Slice
	}
	return defaultSlice
}

// passOn hands the lock to the next local waiter, if it may. The caller holds f.mu, which is given back while the lease is
// extended, until by at most. No REL was sent for the token yet: Release is called once.
func (s *slot) passOn(ctx context.Context, k *Lock, by time.Time) bool {
	if !s.mayPass(k) {
		return false
	}
	d := k.Deadline()
	if !s.lasts(d, k) {
		var ok bool
		if d, ok = s.extendForNext(ctx, k, by); !ok || !s.mayPass(k) || !s.lasts(d, k) { // the head may be another by now
			return false
		}
	}
	at := s.checkAt
	s.deliver(s.head, k.token, d, k.longest())
	s.checkAt = at // nothing was asked of the server
	s.passes++
	return true
}

// mayPass says whether the hand-off is within its bounds.
func (s *slot) mayPass(k *Lock) bool {
	c := s.l.Cohort
	return s.h == k && s.head != nil && s.w == nil && !s.l.state.closed.Load() && !k.isOver() &&
		s.passes < c.Passes && s.l.now().Sub(s.since) < c.slice()
}

// lasts says whether enough is left until d, by both clocks, for the head to take over k.
func (s *slot) lasts(d time.Time, k *Lock) bool {
	return !passed(s.l.now().Add(max(k.ttl, s.head.ttl)/3), d)
}

// extendForNext extends the lease for the head. If the reply is lost, or says that the lock is not held, there is no hand-off.
func (s *slot) extendForNext(ctx context.Context, k *Lock, by time.Time) (d time.Time, ok bool) {
	f, ttl := &s.l.state.fair, max(k.ttl, s.head.ttl)
	s.passing = true
	s.users++
	f.mu.Unlock()
	var left time.Duration
	returned := false
	defer func() {
		f.mu.Lock()
		s.passing = false
		s.users--
		if !returned { // the user's code panics, and Release with it
			k.desert(ctx)
			f.mu.Unlock()
		}
	}()
	start, err := k.exchangeBy(ctx, "extend", by, func(c redis.Conn) (err error) {
		k.asked(ttl)
		left, err = k.extendOn(ctx, c, ttl)
		return err
	})
	s.l.Observer.outcome(ctx, k.key, "extend", err)
	returned = true
	return deadline(start, left), err == nil
}

// asked notes the longest lease that may have been asked of the server for the token.
func (k *Lock) asked(ttl time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.most = max(k.most, ttl)
}

// longest is how long the server may keep the token at most.
func (k *Lock) longest() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.ttl, k.most)
}
