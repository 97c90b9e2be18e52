package redigolock_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A retryLog is a Retry that pauses for a second, and notes what it is told.
type retryLog struct{ left []time.Duration }

func (r *retryLog) retry(_ int, heldFor time.Duration) time.Duration {
	r.left = append(r.left, heldFor)
	return time.Second
}

// seconds are n times, of which the first is from.
func seconds(from, n int) (list []time.Duration) {
	for i := range n {
		list = append(list, time.Duration(from-i)*time.Second)
	}
	return list
}

// lookers are the ways to acquire that are not told how long the lock is held for.
func lookers() map[string]redigolock.AcquireFunc {
	return map[string]redigolock.AcquireFunc{"SetNXVerified": nil, "SetNX": redigolock.SetNX}
}

// holdAs has a key carry a token of another Locker's.
func holdAs(t *testing.T, s *sim.Server, owner string, ttl time.Duration) (holder string) {
	t.Helper()
	token := owner + "|" + redigolock.NewToken()
	if _, err := s.Do("SET", "key", token, "PX", ttl.Milliseconds()); err != nil {
		t.Fatal(err)
	}
	return redigolock.HolderOf(token)
}

func TestWaiterAsksHowLongTheLockIsHeldOnceForEachTTL(t *testing.T) {
	for name, with := range lookers() {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				knownScripts(t, s)
				log := &retryLog{}
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), AcquireWith: with, Retry: log.retry})
				holder := holdAs(t, s, "other", 5*time.Second)
				time.AfterFunc(4500*time.Millisecond, func() { s.Do("PEXPIRE", "key", 5000) }) // renewed: over at 9.5 s
				ctx, cancel := context.WithTimeout(bg, 8500*time.Millisecond)
				defer cancel()
				_, err := l.Acquire(ctx, "key", time.Minute)
				var held *redigolock.HeldError
				if !errors.As(err, &held) {
					t.Fatal(err)
				}
				// Tries at 0, 1 … 8 s. The second asks, and is told 4 s; at 5 s that is over, so it is asked again: 4.5 s.
				want := slices.Concat([]time.Duration{0}, seconds(4, 4))
				for i := range 4 {
					want = append(want, 4500*time.Millisecond-time.Duration(i)*time.Second)
				}
				if !slices.Equal(log.left, want) {
					t.Errorf("Retry was told %v, want %v", log.left, want)
				}
				if n := s.Count("inspect"); n != 2 {
					t.Errorf("%d times was asked how long it is held", n)
				}
				if held.Holder != holder && with == nil || held.TTL != 1500*time.Millisecond && with == nil {
					t.Errorf("the error says %+v", held)
				}
			})
		})
	}
}

// What is known of one holder is not told of the next.
func TestWaiterForgetsTheTTLOfAnotherHolder(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		knownScripts(t, s)
		log := &retryLog{}
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: log.retry})
		holdAs(t, s, "first", time.Hour)
		time.AfterFunc(2500*time.Millisecond, func() { holdAs(t, s, "second", time.Minute) })
		ctx, cancel := context.WithTimeout(bg, 5500*time.Millisecond)
		defer cancel()
		_, err := l.Acquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		want := []time.Duration{0, time.Hour - time.Second, time.Hour - 2*time.Second, 0, 58500 * time.Millisecond, 57500 * time.Millisecond}
		if !slices.Equal(log.left, want) {
			t.Errorf("Retry was told %v, want %v", log.left, want)
		}
	})
}

// The holder may change between a try and the question how long it holds: the answer is about the new one.
func TestWaiterThatMeetsAnotherHolderWhenItAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		knownScripts(t, s)
		log := &retryLog{}
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: log.retry})
		holdAs(t, s, "first", time.Hour)
		var second string
		s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == "inspect" && q.N == 1 {
				second = holdAs(t, s, "second", time.Minute)
			}
			return sim.Pass()
		})
		ctx, cancel := context.WithTimeout(bg, 3500*time.Millisecond)
		defer cancel()
		_, err := l.Acquire(ctx, "key", time.Minute)
		want := []time.Duration{0, 60 * time.Second, 59 * time.Second, 58 * time.Second}
		if !slices.Equal(log.left, want) {
			t.Errorf("Retry was told %v, want %v", log.left, want)
		}
		var held *redigolock.HeldError
		if !errors.As(err, &held) || held.Holder != second {
			t.Errorf("the error is %v, want one that names %s", err, second)
		}
		if n := s.Count("inspect"); n != 1 {
			t.Errorf("%d times was asked how long it is held", n)
		}
	})
}

// The lock may be released between a try and the question: nobody holds it then, and the next try says whether it is free.
func TestWaiterThatMeetsNobodyWhenItAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		knownScripts(t, s)
		log := &retryLog{}
		var told []string
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: log.retry, Observer: &redigolock.Observer{
			Contended: func(_ context.Context, _ string, e *redigolock.HeldError) { told = append(told, e.Holder) },
		}})
		first := holdAs(t, s, "first", time.Hour)
		s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == "inspect" {
				s.Do("DEL", "key")
			}
			return sim.Pass()
		})
		k, err := l.Acquire(bg, "key", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{0, 0}; !slices.Equal(log.left, want) {
			t.Errorf("Retry was told %v, want %v", log.left, want)
		}
		if want := []string{first, first}; !slices.Equal(told, want) {
			t.Errorf("Contended was told %v, want %v", told, want)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}
