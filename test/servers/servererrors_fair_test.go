package servers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/scripts"
)

// The conditions of TestServerErrors, for a fair Locker: it reads the same, and goes on as soon as the condition is lifted. A
// Release that was refused is repeated, so nothing is left then.
func TestServerErrorsFair(t *testing.T) {
	for _, c := range serverConditions {
		if c.approaches != nil && !slices.Contains(c.approaches, "SetNXVerified") {
			continue // it is one of another command
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newBadServer(t, c)
			for _, src := range scripts.Texts {
				s.do("SCRIPT", "LOAD", src)
			}
			extended, released := s.holdFair("extended"), s.holdFair("released")
			c.begin(s)
			tried := s.background(func() {
				_, err := s.fair().TryAcquire(bg, "try", serverTTL)
				s.checkRead("TryAcquire", err, "try", "acquire", c.reads)
			})
			holder := s.background(func() { s.testHolder(extended, released) })
			waiting := s.testFairAcquireWaits()
			<-tried
			<-holder
			c.lift(s)
			if waiting != nil {
				a := receive(t, "the waiter", waiting)
				if a.Err == nil {
					a.Err = a.K.Release(bg)
				}
				if a.Err != nil {
					t.Errorf("who waited: %v", a.Err)
				}
			}
			s.testStillHeld(extended)
			eventually(t, "nothing is left", func() bool {
				return s.do("EXISTS", "try", "wait", "leave", "extended", "released") == int64(0)
			})
		})
	}
}

func (s *badServer) fair() *redigolock.Locker {
	l := s.locker(s.pool)
	l.Fair = true
	return l
}

func (s *badServer) holdFair(key string) *redigolock.Lock {
	s.Helper()
	k, err := s.fair().TryAcquire(bg, key, serverTTL)
	if err != nil {
		s.Fatal(err)
	}
	return k
}

// testFairAcquireWaits is testAcquireWaits.
func (s *badServer) testFairAcquireWaits() <-chan acquired {
	if !s.cond.retried {
		a := receive(s.T, "Acquire ends at once", waits(bg, s.fair(), "wait", serverTTL))
		s.checkRead("Acquire", a.Err, "wait", "acquire", s.cond.reads)
		return nil
	}
	gaveUp := errors.New("the caller gave up")
	ctx, giveUp := context.WithCancelCause(bg)
	defer giveUp(nil)
	pool := &countedPool{Pool: s.pool}
	l := s.locker(pool)
	l.Fair = true
	leaving := waits(ctx, l, "leave", serverTTL)
	waiting := waits(bg, s.fair(), "wait", serverTTL)
	eventually(s.T, "it tries again", func() bool { return pool.borrowed.Load() >= 4 }) // so one has failed for sure
	giveUp(gaveUp)
	a := receive(s.T, "who gives up", leaving)
	wants(s.T, a.Err, gaveUp, context.Canceled)
	if a.Err != nil && !slices.ContainsFunc(strings.Split(s.cond.reads, "|"), func(words string) bool {
		return strings.Contains(a.Err.Error(), words)
	}) {
		s.Errorf("who gives up reads %v, want %q", a.Err, s.cond.reads)
	}
	return waiting
}
