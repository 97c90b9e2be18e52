package redigolock_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
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
		if held > 0 && pause-held > 25*time.Millisecond {
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

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	durations := func(from time.Duration) *rapid.Generator[int64] {
		return rapid.OneOf(rapid.Int64(), rapid.Int64Range(int64(from), int64(time.Hour)))
	}
	rapid.Check(t, func(t *rapid.T) {
		least, most := time.Duration(durations(-1).Draw(t, "min")), time.Duration(durations(-1).Draw(t, "max"))
		attempt := rapid.OneOf(rapid.Int(), rapid.IntRange(-2, 70)).Draw(t, "attempt")
		held := time.Duration(durations(-1).Draw(t, "held"))
		pause := redigolock.Backoff(least, most)(attempt, held)
		least = max(least, time.Millisecond)
		most = max(most, least)
		switch {
		case pause < time.Millisecond || pause > most:
			t.Fatalf("pause %v", pause)
		case (held <= 0 || held >= most) && pause < least:
			t.Fatalf("pause %v, less than %v", pause, least)
		case held > 0 && pause-held > 25*time.Millisecond:
			t.Fatalf("pause %v for a holder that has %v left", pause, held)
		}
	})
}

func TestBackoffDoublesFromMinToMax(t *testing.T) {
	r := redigolock.Backoff(20*time.Millisecond, time.Second)
	for attempt, whole := range map[int]time.Duration{
		1: 20 * time.Millisecond, 2: 40 * time.Millisecond, 3: 80 * time.Millisecond, 6: 640 * time.Millisecond,
		7: time.Second, 64: time.Second, 65: time.Second, math.MaxInt: time.Second,
	} {
		longest := time.Duration(0)
		for range 200 {
			pause := r(attempt, 0)
			if pause < max(whole/2, 20*time.Millisecond) || pause > whole {
				t.Fatalf("attempt %d: %v, want %v to %v", attempt, pause, whole/2, whole)
			}
			longest = max(longest, pause)
		}
		if attempt > 1 && longest < whole*3/4 {
			t.Errorf("attempt %d: at most %v in 200, want up to %v", attempt, longest, whole)
		}
	}
}

func TestEveryStaysWithinATenth(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, -time.Second, 0, 1, time.Millisecond, time.Second, 48 * time.Hour, math.MaxInt64} {
		r, pauses := redigolock.Every(d), map[time.Duration]bool{}
		for i := range 200 {
			pause := r(i, time.Duration(i)) // whatever the holder has left
			want := max(d, time.Millisecond)
			if d == math.MaxInt64 {
				want /= 2
			}
			if pause < time.Millisecond || pause < want-want/10 || pause > want+want/10+1 {
				t.Fatalf("every %v: %v", d, pause)
			}
			pauses[pause] = true
		}
		if len(pauses) < 50 {
			t.Errorf("every %v: only %d different pauses", d, len(pauses))
		}
	}
}

func TestTriesStopsAfterSoMany(t *testing.T) {
	for n, want := range map[int]int{math.MinInt: 1, -1: 1, 0: 1, 1: 1, 2: 2, 5: 5} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.Retry = redigolock.Tries(n, redigolock.Every(time.Millisecond))
			tries := 0
			r.Locker.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
				tries++
				return redigolock.SetNXVerified(ctx, c, key, token, ttl)
			}
			holder := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			for range 2 { // it keeps no state
				tries = 0
				_, err := r.Locker.Acquire(endsIn(t, time.Minute), "key", time.Minute)
				wants(t, err, redigolock.ErrHeld)
				wantsNot(t, err, context.DeadlineExceeded, context.Canceled)
				if tries != want {
					t.Errorf("Tries(%d) made %d tries", n, tries)
				}
			}
			r.OK(holder.Release(bg))
		})
	}
}

func TestTriesWithoutARetryPausesAsTheDefault(t *testing.T) {
	r := redigolock.Tries(20, nil)
	for attempt := 1; attempt < 20; attempt++ {
		if pause := r(attempt, 0); pause < time.Millisecond || pause > 250*time.Millisecond {
			t.Errorf("attempt %d: %v", attempt, pause)
		}
	}
	if pause := r(20, 0); pause >= 0 {
		t.Errorf("try 20 of 20 was followed by a pause of %v", pause)
	}
}

// A shared LimitRetry of redislock is used up for ever.
func TestRetryIsStateless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			if attempt == 3 {
				return -1
			}
			return time.Millisecond
		}
		holder := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		for range 3 {
			_, err := r.Locker.Acquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrHeld)
		}
		r.OK(holder.Release(bg))
		r.Must(r.Locker.Acquire(bg, "key", time.Minute))
	})
}

func TestRetryCountsFromOneAndANegativePauseStops(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Do("SET", "key", "another's", "PX", 60000)
			var attempts []int
			r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
				attempts = append(attempts, attempt)
				if len(attempts) == 4 {
					return -time.Nanosecond
				}
				return 0
			}
			learns(t, r.Locker)
			before := len(r.Sent(a.Verb))
			_, err := r.Locker.Acquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrHeld)
			wantsNot(t, err, context.Canceled, context.DeadlineExceeded, redigolock.ErrUnknown)
			if len(attempts) != 4 || attempts[0] != 1 || attempts[3] != 4 {
				t.Errorf("%s: attempts %v", a.Name, attempts)
			}
			if n := len(r.Sent(a.Verb)) - before; n != 4 {
				t.Errorf("%s: %d tries", a.Name, n)
			}
		})
	}
}

func TestNegativePauseAfterAServerErrorReturnsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.Retry = func(int, time.Duration) time.Duration { return -1 }
		r.Proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Reply("-BUSY wait\r\n") })
		_, err := r.Locker.Acquire(bg, "key", time.Minute)
		wants(t, err, redis.Error("BUSY wait"))
		wantsNot(t, err, redigolock.ErrHeld)
	})
}

func TestRetryIsToldHowLongTheHolderHas(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Do("SET", "key", "another's", "PX", 60000)
			var told []time.Duration
			r.Locker.Retry = func(attempt int, heldFor time.Duration) time.Duration {
				told = append(told, heldFor)
				if attempt == 10 {
					return -1
				}
				return 0
			}
			_, err := r.Locker.Acquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrHeld)
			for i, d := range told {
				if i > 0 && (d < 30*time.Second || d > time.Minute) { // the first try may not know
					t.Errorf("%s: try %d was told %v of a minute", a.Name, i+1, d)
				}
			}
			if n := len(r.Sent("inspect")); n > 1 {
				t.Errorf("%s: asked %d times about one holder", a.Name, n)
			}
		})
	}
}

func TestNextHolderIsAskedAboutAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "one", "PX", 60000)
		var told []time.Duration
		r.Locker.Retry = func(attempt int, heldFor time.Duration) time.Duration {
			told = append(told, heldFor)
			switch attempt {
			case 4:
				r.Do("SET", "key", "two", "PX", 3600000)
			case 8:
				return -1
			}
			return 0
		}
		_, err := r.Locker.Acquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		if told[3] > time.Minute || told[7] < 30*time.Minute {
			t.Errorf("told %v", told)
		}
		if n := len(r.Sent("inspect")); n > 2 {
			t.Errorf("asked %d times about two holders", n)
		}
	})
}

func TestKeyThatIsNoLockEndsTheWaitWithErrConflict(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			for name, set := range map[string][]any{
				"list":               {"RPUSH", "list", "x"},
				"hash":               {"HSET", "hash", "x", "y"},
				"string without TTL": {"SET", "string without TTL", "x"},
			} {
				r.Do(set[0].(string), set[1:]...)
				_, err := r.Locker.Acquire(endsIn(t, 10*time.Second), name, time.Minute)
				wants(t, err, redigolock.ErrConflict)
				wantsNot(t, err, context.DeadlineExceeded)
				if n := r.Do("EXISTS", name); n != int64(1) {
					t.Errorf("%s: the %s was touched", a.Name, name)
				}
			}
		})
	}
}

func TestTryAcquireOfAKeyThatIsNoLock(t *testing.T) {
	want := map[string]error{ // SET NX alone cannot tell
		"default": redigolock.ErrConflict, "SetNXVerified": redigolock.ErrConflict,
		"SetNXGet": redigolock.ErrConflict, "SetNXScript": redigolock.ErrConflict,
		"SetNX": redigolock.ErrHeld, "own": redigolock.ErrHeld,
	}
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Do("RPUSH", "list", "x")
			_, err := r.Locker.TryAcquire(bg, "list", time.Minute)
			wants(t, err, want[a.Name])
		})
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

// A crowd calls the strategies of this package for waiters that sleep, and nothing else.
func TestOwnRetriesAreRecognised(t *testing.T) {
	users := func(int, time.Duration) time.Duration { return 0 }
	for name, c := range map[string]struct {
		retry redigolock.RetryFunc
		isOwn bool
	}{
		"DefaultRetry":   {redigolock.DefaultRetry, true},
		"Backoff":        {redigolock.Backoff(time.Second, time.Minute), true},
		"Every":          {redigolock.Every(time.Second), true},
		"Tries":          {redigolock.Tries(3, nil), true},
		"Tries of Every": {redigolock.Tries(3, redigolock.Every(time.Second)), true},
		"Tries of Tries": {redigolock.Tries(3, redigolock.Tries(2, nil)), true},
		"a user's":       {users, false},
		"Tries of it":    {redigolock.Tries(3, users), false},
		"Tries of these": {redigolock.Tries(3, redigolock.Tries(3, users)), false},
	} {
		if got := redigolock.IsOwnRetry(c.retry); got != c.isOwn {
			t.Errorf("%s: %v", name, got)
		}
	}
}
