package redigolock_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"pgregory.net/rapid"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestDefaultRetryStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attempt := rapid.OneOf(rapid.Int(), rapid.IntRange(-2, 70)).Draw(t, "attempt")
		held := time.Duration(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1, int64(time.Minute))).Draw(t, "held"))
		pause := redigolock.DefaultRetry(attempt, held)
		if pause < time.Millisecond || pause > 250*time.Millisecond {
			t.Fatalf("pause %v", pause)
		}
		if held > 0 && pause > max(held+25*time.Millisecond, time.Millisecond) {
			t.Fatalf("pause %v for a holder that has %v left", pause, held)
		}
	})
}

func TestDefaultRetryGrowsAndIsJittered(t *testing.T) {
	for _, attempt := range []int{math.MinInt, -1, 0, 1} {
		if pause := redigolock.DefaultRetry(attempt, 0); pause > 2*time.Millisecond {
			t.Errorf("attempt %d: %v", attempt, pause)
		}
	}
	for _, attempt := range []int{12, 63, 64, 65, math.MaxInt} {
		pauses := map[time.Duration]bool{}
		for range 50 {
			pause := redigolock.DefaultRetry(attempt, 0)
			if pause < 100*time.Millisecond {
				t.Errorf("attempt %d: %v", attempt, pause)
			}
			pauses[pause] = true
		}
		if len(pauses) < 10 {
			t.Errorf("attempt %d: only %d different pauses: all waiters would come at once", attempt, len(pauses))
		}
	}
	var last time.Duration
	for attempt := 1; attempt <= 8; attempt += 2 { // each step of two more than doubles even the least
		if pause := redigolock.DefaultRetry(attempt, 0); pause < last {
			t.Errorf("attempt %d: %v after %v", attempt, pause, last)
		} else {
			last = pause
		}
	}
}

// A shared LimitRetry of redislock is used up for ever.
func TestRetryIsStateless(t *testing.T) {
	r := newRigOnMini(t)
	r.locker.Retry = func(attempt int, _ time.Duration) time.Duration {
		if attempt == 3 {
			return -1
		}
		return time.Millisecond
	}
	holder := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
	for range 3 {
		_, err := r.locker.Acquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
	}
	r.ok(holder.Release(bg))
	r.must(r.locker.Acquire(bg, "key", time.Minute))
}

func TestRetryCountsFromOneAndANegativePauseStops(t *testing.T) {
	for _, a := range acquireWays {
		r := newRig(t)
		r.locker.AcquireWith = a.with
		r.do("SET", "key", "another's", "PX", 60000)
		var attempts []int
		r.locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			attempts = append(attempts, attempt)
			if len(attempts) == 4 {
				return -time.Nanosecond
			}
			return 0
		}
		_, err := r.locker.Acquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		wantsNot(t, err, context.Canceled, context.DeadlineExceeded, redigolock.ErrUnknown)
		if len(attempts) != 4 || attempts[0] != 1 || attempts[3] != 4 {
			t.Errorf("%s: attempts %v", a.name, attempts)
		}
		if n := len(r.sent(a.verb)); n != 4 {
			t.Errorf("%s: %d tries", a.name, n)
		}
	}
}

func TestNegativePauseAfterAServerErrorReturnsThat(t *testing.T) {
	r := newRig(t)
	r.locker.Retry = func(int, time.Duration) time.Duration { return -1 }
	r.proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Reply("-BUSY wait\r\n") })
	_, err := r.locker.Acquire(bg, "key", time.Minute)
	wants(t, err, redis.Error("BUSY wait"))
	wantsNot(t, err, redigolock.ErrHeld)
}

func TestRetryIsToldHowLongTheHolderHas(t *testing.T) {
	for _, a := range acquireWays {
		r := newRig(t)
		r.locker.AcquireWith = a.with
		r.do("SET", "key", "another's", "PX", 60000)
		var told []time.Duration
		r.locker.Retry = func(attempt int, heldFor time.Duration) time.Duration {
			told = append(told, heldFor)
			if attempt == 10 {
				return -1
			}
			return 0
		}
		_, err := r.locker.Acquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		for i, d := range told {
			if i > 0 && (d < 30*time.Second || d > time.Minute) { // the first try may not know
				t.Errorf("%s: try %d was told %v of a minute", a.name, i+1, d)
			}
		}
		if n := len(r.sent("inspect")); n > 1 {
			t.Errorf("%s: asked %d times about one holder", a.name, n)
		}
	}
}

func TestNextHolderIsAskedAboutAnew(t *testing.T) {
	r := newRig(t)
	r.do("SET", "key", "one", "PX", 60000)
	var told []time.Duration
	r.locker.Retry = func(attempt int, heldFor time.Duration) time.Duration {
		told = append(told, heldFor)
		switch attempt {
		case 4:
			r.do("SET", "key", "two", "PX", 3600000)
		case 8:
			return -1
		}
		return 0
	}
	_, err := r.locker.Acquire(bg, "key", time.Minute)
	wants(t, err, redigolock.ErrHeld)
	if told[3] > time.Minute || told[7] < 30*time.Minute {
		t.Errorf("told %v", told)
	}
	if n := len(r.sent("inspect")); n > 2 {
		t.Errorf("asked %d times about two holders", n)
	}
}

func TestKeyThatIsNoLockEndsTheWaitWithErrConflict(t *testing.T) {
	for _, a := range acquireWays {
		r := newRig(t)
		r.locker.AcquireWith = a.with
		for name, set := range map[string][]any{
			"list":               {"RPUSH", "list", "x"},
			"hash":               {"HSET", "hash", "x", "y"},
			"string without TTL": {"SET", "string without TTL", "x"},
		} {
			r.do(set[0].(string), set[1:]...)
			_, err := r.locker.Acquire(endsIn(t, 10*time.Second), name, time.Minute)
			wants(t, err, redigolock.ErrConflict)
			wantsNot(t, err, context.DeadlineExceeded)
			if n := r.do("EXISTS", name); n != int64(1) {
				t.Errorf("%s: the %s was touched", a.name, name)
			}
		}
	}
}

func TestTryAcquireOfAKeyThatIsNoLock(t *testing.T) {
	want := map[string]error{ // SET NX alone cannot tell
		"default": redigolock.ErrConflict, "SetNXVerified": redigolock.ErrConflict, "SetNXScript": redigolock.ErrConflict,
		"SetNX": redigolock.ErrHeld, "own": redigolock.ErrHeld,
	}
	for _, a := range acquireWays {
		r := newRig(t)
		r.locker.AcquireWith = a.with
		r.do("RPUSH", "list", "x")
		_, err := r.locker.TryAcquire(bg, "list", time.Minute)
		wants(t, err, want[a.name])
	}
}

func TestRetryMayBeUsedByManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for attempt := range 1000 {
				redigolock.DefaultRetry(attempt, time.Second)
			}
		})
	}
	wg.Wait()
}
