package locktest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/locktest"
)

// report is the code under test in the tests below: it must end when its lock is lost, must not run without, and says who has it.
func report(ctx context.Context, locks *redigolock.Locker, part func(context.Context) error) error {
	return locks.TryDo(ctx, "report", 10*time.Second, func(ctx context.Context, k *redigolock.Lock) error {
		for range 60 {
			if err := part(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// aSecond is a part that takes a second.
func aSecond(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// The lock is lost in the middle of the work.
func TestExampleLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := locktest.Start(t)
		start := time.Now()
		time.AfterFunc(20*time.Second, func() { redis.Lose("report") })

		err := report(t.Context(), redis.Locker(), aSecond)

		if !errors.Is(err, redigolock.ErrLost) {
			t.Errorf("got %v, want ErrLost", err)
		}
		if d := time.Since(start); d < 20*time.Second || d > 30*time.Second {
			t.Errorf("it went on for %v, and the lock was lost after 20 s", d)
		}
	})
}

// Redis is down from the middle of the work on: the lock ends when it can no longer be renewed, before its ttl is over.
func TestExampleDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := locktest.Start(t)
		redis.Leave("report") // nobody can release it
		time.AfterFunc(20*time.Second, func() { redis.Down() })

		if err := report(t.Context(), redis.Locker(), aSecond); !errors.Is(err, redigolock.ErrLost) {
			t.Errorf("got %v, want ErrLost", err)
		}
		if err := report(t.Context(), redis.Locker(), aSecond); !errors.Is(err, redigolock.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
}

// Somebody else has the lock.
func TestExampleHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := locktest.Start(t)
		release := redis.Hold("report", "host-7", time.Minute)

		err := report(t.Context(), redis.Locker(), aSecond)
		var held *redigolock.HeldError
		if !errors.As(err, &held) || held.Key != "report" {
			t.Errorf("got %v, want a HeldError", err)
		}

		release()
		if err := report(t.Context(), redis.Locker(), aSecond); err != nil {
			t.Error(err)
		}
	})
}

// The reply to the acquire is lost: the Locker asks again, and finds its own token. When that is lost, too, it cannot know
// whether it has the lock, so the work must not run.
func TestExampleLostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := locktest.Start(t)
		redis.LoseReplies(1, "acquire")
		if err := report(t.Context(), redis.Locker(), aSecond); err != nil {
			t.Error(err)
		}

		redis.LoseReplies(2, "acquire")
		err := report(t.Context(), redis.Locker(), func(context.Context) error {
			t.Error("it runs without the lock")
			return nil
		})
		if !errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("got %v, want ErrUnknown", err)
		}
	})
}

// Two hosts want it at the same time: it runs once.
func TestExampleTwoHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := locktest.Start(t)
		errs := make(chan error)
		for range 2 {
			host := redis.Locker() // each host has its own
			go func() { errs <- report(t.Context(), host, aSecond) }()
		}
		first, second := <-errs, <-errs // who is turned away comes first
		if !errors.Is(first, redigolock.ErrHeld) || second != nil {
			t.Errorf("got %v and %v, want ErrHeld and nil", first, second)
		}
	})
}
