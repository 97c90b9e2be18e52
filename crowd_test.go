package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Many calls of Acquire for one key in one Locker, in virtual time.

// An asked counts the tries of a Locker, and how many were in flight at a time.
type asked struct {
	mu       sync.Mutex // protects what follows
	now, max int
	total    int
}

// countTries has the Locker's tries counted.
func countTries(l *redigolock.Locker) *asked {
	a := &asked{}
	l.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
		a.mu.Lock()
		a.now++
		a.total++
		a.max = max(a.max, a.now)
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			a.now--
			a.mu.Unlock()
		}()
		return redigolock.SetNXVerified(ctx, c, key, token, ttl)
	}
	return a
}

// soFar is how many tries there were.
func (a *asked) soFar() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// overBoth runs f with a Locker over a pool and over a Mux, whose round trips take 10 ms.
func overBoth(t *testing.T, f func(t *testing.T, s *sim.Server, l *redigolock.Locker)) {
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%v", mux), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				var p redigolock.Pool = simPool(t, s, "redis")
				if mux {
					m := &redigolock.Mux{Pool: p}
					t.Cleanup(func() { m.Close() })
					p = m
				}
				s.Delay(5 * time.Millisecond)
				l := simLocker(t, &redigolock.Locker{Pool: p})
				f(t, s, l)
				synctest.Wait()
				if n := redigolock.Crowds(l); n != 0 {
					t.Errorf("%d keys are remembered that nobody waits for", n)
				}
			})
		})
	}
}

// holdByAnother puts another's token into the key.
func holdByAnother(t *testing.T, s *sim.Server, key string, ttl time.Duration) {
	t.Helper()
	if _, err := s.Do("SET", key, "another's", "PX", ttl.Milliseconds()); err != nil {
		t.Fatal(err)
	}
}

func TestCrowdAsksFourAtATime(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "key", time.Hour)
		a := countTries(l)
		l.Retry = redigolock.Every(20 * time.Millisecond)
		ctx, cancel := context.WithTimeout(bg, 2*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				_, err := l.Acquire(ctx, "key", time.Minute)
				wants(t, err, redigolock.ErrHeld, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		if a.max != redigolock.MaxAsking {
			t.Errorf("%d of 300 asked at a time", a.max)
		}
		if a.total < 100 || a.total > 4*200+4 { // a round trip takes 10 ms
			t.Errorf("%d tries in two seconds", a.total)
		}
	})
}

func TestCrowdsOfTwoKeysDoNotShareTheirTries(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "one", time.Hour)
		l.Retry = redigolock.Every(time.Millisecond)
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _, _ = l.Acquire(ctx, "one", time.Minute) })
		}
		time.Sleep(time.Second)
		start := time.Now()
		mustGet(t)(l.Acquire(bg, "two", time.Minute))
		if took := time.Since(start); took > 20*time.Millisecond { // over a Mux it may wait for the batch before
			t.Errorf("an acquire of another key took %v", took)
		}
		cancel()
		wg.Wait()
	})
}

// What a RetryFunc promises holds for waiter 9,000 as for the first.
func TestCrowdKeepsTheRetrysPromises(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "key", time.Hour)
		a := countTries(l)
		var calls atomic.Int64
		three := redigolock.Tries(3, redigolock.Every(time.Second))
		l.Retry = func(attempt int, heldFor time.Duration) time.Duration {
			calls.Add(1)
			return three(attempt, heldFor)
		}
		n := testbed.Many(10_000)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				start := time.Now()
				_, err := l.Acquire(bg, "key", time.Minute)
				took := time.Since(start)
				if !errors.Is(err, redigolock.ErrHeld) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("waiter %d: %v", i, err)
				}
				if took < 1800*time.Millisecond || took > 2232*time.Millisecond { // 10 % either way, three round trips, and a grain for each pause
					t.Errorf("waiter %d: ended after %v", i, took)
				}
			})
		}
		wg.Wait()
		if c := calls.Load(); c != int64(3*n) {
			t.Errorf("Retry was asked %d times for %d waiters with three tries each", c, n)
		}
		if a.max > redigolock.MaxAsking {
			t.Errorf("%d asked at a time", a.max)
		}
	})
}

func TestCrowdKeepsTheRetrysPromisesThoughNobodyAnswers(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		l.Retry = redigolock.Tries(3, redigolock.Every(time.Second))
		mustGet(t)(l.TryAcquire(bg, "warm", time.Hour))
		goOn := s.Pause()
		var wg sync.WaitGroup
		var unknown atomic.Int64
		for i := range 1000 {
			wg.Go(func() {
				start := time.Now()
				_, err := l.Acquire(bg, "key", time.Minute)
				if took := time.Since(start); took > 2200*time.Millisecond+3*redigolock.DefaultOpTimeout {
					t.Errorf("waiter %d: ended after %v", i, took)
				}
				if errors.Is(err, redigolock.ErrUnknown) {
					unknown.Add(1)
				}
				wantsNot(t, err, redigolock.ErrHeld)
			})
		}
		wg.Wait()
		if n := unknown.Load(); n < 1 || n > 100 {
			t.Errorf("%d of 1000 say that they may have left something", n)
		}
		goOn()
		time.Sleep(time.Minute + 5*time.Second)
		wantGone(t, s, "key")
	})
}

func TestCrowdEndsWithTheContextOfEach(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "key", time.Hour)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				d := 50*time.Millisecond + time.Duration(i)*time.Millisecond
				ctx, cancel := context.WithTimeout(bg, d)
				defer cancel()
				start := time.Now()
				_, err := l.Acquire(ctx, "key", time.Minute)
				wants(t, err, redigolock.ErrHeld, context.DeadlineExceeded)
				if took := time.Since(start); took < d || took > d+10*time.Millisecond { // the leader of a Mux's batch reads all its replies
					t.Errorf("waiter %d: ended after %v of %v", i, took, d)
				}
			})
		}
		wg.Wait()
	})
}

// No pause ends within the hour: each gets the lock because the release before calls it, in the order in which they came.
func TestCrowdIsServedByItsLockersReleasesInOrder(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		l.Retry = redigolock.Every(time.Hour)
		holder := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
		start := time.Now()
		if err := holder.Release(bg); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if took := time.Since(start); took > 51*20*time.Millisecond {
			t.Errorf("50 waiters took %v, two round trips each are a second", took)
		}
		if !slices.IsSorted(order) {
			t.Errorf("the order was %v", order)
		}
	})
}

// The same when all come at once, so that most have never asked.
func TestCrowdThatComesAtOnceIsServedByReleases(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		l.Retry = redigolock.Every(time.Hour)
		a := countTries(l)
		var wg sync.WaitGroup
		start := time.Now()
		for range 500 {
			wg.Go(func() {
				if err := mustGet(t)(l.Acquire(bg, "key", time.Hour)).Release(bg); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 11*time.Second || a.max > redigolock.MaxAsking {
			t.Errorf("500 took %v, with %d tries at a time", took, a.max)
		}
	})
}

// Whoever is called to ask first passes that on when it leaves, whatever it was doing.
func TestCrowdPassesTheCallOnWhenTheCalledOneLeaves(t *testing.T) {
	for name, action := range map[string]sim.Action{
		"it hangs":                 sim.Lose(),
		"its reply is lost":        sim.Swallow(),
		"its reply breaks off":     sim.Drop(),
		"it is carried out later":  sim.Late(3 * time.Second),
		"its connection is broken": sim.Cut(),
	} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			l := simLocker(t, &redigolock.Locker{Pool: s.Pool(), Retry: redigolock.Every(time.Hour)})
			s.Delay(5 * time.Millisecond)
			holder := mustGet(t)(l.TryAcquire(bg, "key", 5*time.Minute))
			ctx, cancel := context.WithCancel(bg)
			var wg sync.WaitGroup
			wg.Go(func() {
				if k, err := l.Acquire(ctx, "key", 5*time.Minute); err == nil { // it has asked once more
					_ = k.Release(bg)
				}
			})
			time.Sleep(time.Second)
			for range 10 {
				wg.Go(func() {
					if err := mustGet(t)(l.Acquire(bg, "key", 5*time.Minute)).Release(bg); err != nil {
						t.Error(err)
					}
				})
			}
			time.Sleep(time.Second)
			s.Next("set", action)
			start := time.Now()
			if err := holder.Release(bg); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
			cancel()
			wg.Wait()
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%s: the others took %v", name, took)
			}
		})
	}
}

func TestCrowdEndsWithClose(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "key", time.Hour)
		mustGet(t)(l.TryAcquire(bg, "warm", time.Hour))
		for _, answered := range []bool{true, false} {
			l := simLocker(t, &redigolock.Locker{Pool: l.Pool})
			goOn := func() {}
			if !answered {
				goOn = s.Pause()
			}
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					_, err := l.Acquire(bg, "key", time.Minute)
					wants(t, err, redigolock.ErrClosed)
				})
			}
			time.Sleep(500 * time.Millisecond)
			go func() {
				time.Sleep(2 * time.Second)
				goOn()
			}()
			l.Close()
			wg.Wait()
			if n := redigolock.Crowds(l); n != 0 {
				t.Errorf("%d keys are remembered", n)
			}
			time.Sleep(3 * time.Second)
		}
	})
}

// A ttl of 10 ms leaves a try no time on this network. Those who have more are not told that nobody answers.
func TestCrowdOfDifferentTTLs(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		s.Delay(20 * time.Millisecond)
		l.Retry = redigolock.Tries(4, redigolock.Every(10*time.Millisecond))
		holder := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		l.OpTimeout = time.Second
		var wg sync.WaitGroup
		for i := range 40 {
			ttl := time.Minute
			if i%2 == 0 {
				ttl = 10 * time.Millisecond
			}
			wg.Go(func() {
				_, err := l.Acquire(bg, "key", ttl)
				if i%2 == 1 {
					wants(t, err, redigolock.ErrHeld)
				}
			})
		}
		wg.Wait()
		if err := holder.Release(bg); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
	})
}

func TestCrowdIsToldWhatTheServerRefuses(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		a := countTries(l)
		s.Rule(func(r sim.Request) sim.Action {
			if r.Name == "SET" {
				return sim.Refuse("NOPERM this user may not")
			}
			return sim.Pass()
		})
		start := time.Now()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				_, err := l.Acquire(bg, "key", time.Minute)
				wants(t, err, redis.Error("NOPERM this user may not"))
			})
		}
		wg.Wait()
		if took := time.Since(start); took > time.Second || a.total > 4*redigolock.MaxAsking {
			t.Errorf("they ended after %v and %d tries", took, a.total)
		}

		s.Rule(func(r sim.Request) sim.Action {
			if r.Name == "SET" {
				return sim.Refuse("LOADING not yet")
			}
			return sim.Pass()
		})
		start = time.Now()
		for range 200 {
			wg.Go(func() {
				if err := mustGet(t)(l.Acquire(bg, "key", time.Minute)).Release(bg); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(2 * time.Second)
		s.Rule(nil)
		wg.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("they got it after %v", took)
		}
	})
}

func TestTryAcquireAlwaysAsks(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		a := countTries(l)
		holdByAnother(t, s, "key", time.Hour)
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		l.Retry = redigolock.Every(time.Millisecond)
		for range 100 {
			wg.Go(func() { _, _ = l.Acquire(ctx, "key", time.Minute) })
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := s.Do("DEL", "key"); err != nil {
			t.Fatal(err)
		}
		holdByAnother(t, s, "other", time.Hour)
		before := s.Count("set")
		for range 20 {
			_, err := l.TryAcquire(bg, "other", time.Minute)
			wants(t, err, redigolock.ErrHeld)
		}
		if s.Count("set")-before < 20 || a.total == 0 {
			t.Error("a TryAcquire has not asked")
		}
		cancel()
		wg.Wait()
	})
}

// A holder's commands take one round trip, however many wait, and so many wait for other keys.
func TestCrowdDoesNotDelayTheHolder(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		other := &redigolock.Locker{Pool: l.Pool}
		k := mustGet(t)(other.TryAcquire(bg, "key", time.Hour)) // the scripts are known, and connections are there
		for _, f := range []func() error{
			func() error { return k.Verify(bg) },
			func() error { return k.Extend(bg, time.Hour) },
			func() error { _, err := k.Fence(bg); return err },
			func() error { return k.Release(bg) },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		k = mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		for range testbed.Many(10_000) {
			wg.Go(func() { _, _ = l.Acquire(ctx, "key", time.Minute) })
		}
		time.Sleep(time.Second)
		most := 20 * time.Millisecond // a Mux may have to wait for the batch before
		for name, f := range map[string]func() error{
			"Verify": func() error { return k.Verify(bg) },
			"Extend": func() error { return k.Extend(bg, 2*time.Hour) },
			"Fence":  func() error { _, err := k.Fence(bg); return err },
		} {
			start := time.Now()
			if err := f(); err != nil || time.Since(start) > most {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
		}
		start := time.Now()
		if err := k.Release(bg); err != nil || time.Since(start) > most {
			t.Errorf("Release: %v after %v", err, time.Since(start))
		}
		cancel()
		wg.Wait()
		time.Sleep(5 * time.Second) // clean-ups
	})
}

// Four waiters for each of many keys are a crowd, too.
func TestCrowdsOfManyKeysDoNotDelayTheHolder(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		if p, ok := l.Pool.(*redis.Pool); ok {
			p.MaxActive = 8
		}
		a := countTries(l)
		l.Retry = redigolock.Every(10 * time.Millisecond)
		k := mustGet(t)(l.TryAcquire(bg, "mine", time.Hour))
		if err := k.Release(bg); err != nil { // the script is known
			t.Fatal(err)
		}
		k = mustGet(t)(l.TryAcquire(bg, "mine", time.Hour))
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		for i := range max(testbed.Many(100), 30) {
			key := fmt.Sprint("key", i)
			holdByAnother(t, s, key, time.Hour)
			for range 4 {
				wg.Go(func() { _, _ = l.Acquire(ctx, key, time.Minute) })
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		before := a.soFar()
		time.Sleep(time.Second)
		if n := a.soFar() - before; n < 300 { // each round trip takes 10 ms
			t.Errorf("%d tries in a second: the waiters starve", n)
		}
		start := time.Now()
		if err := k.Release(bg); err != nil || time.Since(start) > 20*time.Millisecond {
			t.Errorf("Release: %v after %v", err, time.Since(start))
		}
		cancel()
		wg.Wait()
		time.Sleep(5 * time.Second)
	})
}

// Its SET was carried out and never answered, with the connection open: the others are told that the key is held, by its own
// token. It has one try left, which must be a question, though four others are asking and there is an answer to take.
func TestCrowdLetsAWaiterFindItsOwnToken(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		l.Retry = redigolock.Tries(2, func(int, time.Duration) time.Duration { return 10 * time.Millisecond })
		mustGet(t)(l.TryAcquire(bg, "other", time.Hour)) // the first SET that a server is sent travels twice
		n := 0
		s.Rule(func(r sim.Request) sim.Action {
			if r.Name != "SET" {
				return sim.Pass()
			}
			switch n++; {
			case n == 1:
				return sim.Swallow() // for an OpTimeout, which is a second
			case n == 5: // the second of one that asked before; its answer comes while the first pauses
				return sim.Slow(145 * time.Millisecond)
			case n <= 9:
				return sim.Slow(550 * time.Millisecond)
			}
			return sim.Pass()
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
			if got, err := redis.String(s.Do("GET", "key")); got != k.Token() {
				t.Errorf("the key holds %q: %v", got, err)
			}
		})
		others := func(n int) {
			for range n {
				wg.Go(func() {
					_, err := l.Acquire(bg, "key", time.Hour)
					wants(t, err, redigolock.ErrHeld)
				})
			}
		}
		time.Sleep(300 * time.Millisecond)
		others(3)
		time.Sleep(698 * time.Millisecond)
		others(2) // they take an answer at once, and 10 ms later the room that the first and one of the three have left
		wg.Wait()
		time.Sleep(5 * time.Second) // clean-ups
	})
}

// A try that meets nobody is made outside of the crowd. Who comes meanwhile and finds no room is told what it brought.
func TestCrowdIsToldOfATryOutsideOfIt(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		s.Rule(func(r sim.Request) sim.Action {
			if r.Name == "SET" {
				return sim.Refuse("NOPERM this user may not")
			}
			return sim.Pass()
		})
		start := time.Now()
		var wg sync.WaitGroup
		for range redigolock.MaxAsking + 1 {
			wg.Go(func() {
				_, err := l.Acquire(bg, "key", time.Minute)
				wants(t, err, redis.Error("NOPERM this user may not"))
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("they were told after %v", took)
		}
	})
}

// A Retry of the user's may panic, end its goroutine, lock, or take long: that concerns its own call only.
func TestCrowdCallsAUsersRetryOnItsOwnGoroutine(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "key", time.Hour)
		var calls, recovered, ended, locked, slept atomic.Int64
		own := redigolock.Tries(5, redigolock.Every(50*time.Millisecond))
		l.Retry = func(attempt int, heldFor time.Duration) time.Duration {
			if attempt != 3 {
				return own(attempt, heldFor)
			}
			switch calls.Add(1) % 20 {
			case 1:
				panic("Retry")
			case 2:
				runtime.Goexit()
			case 3:
				time.Sleep(10 * time.Minute)
				slept.Add(1)
			case 4:
				if k, err := l.TryAcquire(bg, fmt.Sprint(calls.Load()), time.Minute); err == nil {
					_ = k.Release(bg)
					locked.Add(1)
				}
			}
			return own(attempt, heldFor)
		}
		start := time.Now()
		var inTime atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				returned := false
				defer func() {
					switch r := recover(); {
					case r != nil:
						recovered.Add(1)
					case !returned:
						ended.Add(1)
					case time.Since(start) < time.Second:
						inTime.Add(1)
					}
				}()
				_, err := l.Acquire(bg, "key", time.Minute)
				wants(t, err, redigolock.ErrHeld)
				returned = true
			})
		}
		wg.Wait()
		if recovered.Load() != 5 || ended.Load() != 5 || locked.Load() != 5 || slept.Load() != 5 || inTime.Load() != 85 {
			t.Errorf("%d panicked, %d ended, %d locked, %d slept, and %d returned in time", recovered.Load(), ended.Load(), locked.Load(), slept.Load(), inTime.Load())
		}
	})
}

// The first of the crowd computes its pause when the lock is released. The next is called: it can ask at once.
func TestCrowdCallsNobodyWhoIsBusy(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		var calls atomic.Int64
		l.Retry = func(int, time.Duration) time.Duration {
			if calls.Add(1) == 1 {
				time.Sleep(10 * time.Minute)
			}
			return time.Hour
		}
		holder := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		start := time.Now()
		var wg sync.WaitGroup
		var soon atomic.Int64
		for range 20 {
			wg.Go(func() {
				k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
				if time.Since(start) < 10*time.Second {
					soon.Add(1)
				}
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(50 * time.Millisecond)
		}
		if err := holder.Release(bg); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if n := soon.Load(); n != 19 {
			t.Errorf("%d of 20 got the lock in time", n)
		}
		if took := time.Since(start); took > 2*time.Hour {
			t.Errorf("the first got it after %v", took)
		}
	})
}

// The lock of a lost reply is found, and is gone when it is to be renewed: that is no reason to end a wait.
func TestAcquireGoesOnAfterItsLostLockHasExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		s.Rule(func(r sim.Request) sim.Action {
			switch {
			case r.Name == "SET" && r.N == 1:
				return sim.Swallow()
			case r.Verb == "extend" && r.N == 1:
				if _, err := s.Do("DEL", "key"); err != nil {
					t.Error(err)
				}
			}
			return sim.Pass()
		})
		k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
		if n := s.Count("extend"); n == 0 {
			t.Error("the lock that was lost was not found")
		}
		if err := k.Verify(bg); err != nil {
			t.Error(err)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		wantGone(t, s, "key")
	})
}

// Replies are lost with their connections.
func TestCrowdSurvivesLostReplies(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		l.Retry = redigolock.Every(10 * time.Millisecond)
		l.OpTimeout = 200 * time.Millisecond
		holder := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := mustGet(t)(l.Acquire(bg, "key", time.Minute)).Release(bg); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		lost := 0
		s.Rule(func(r sim.Request) sim.Action {
			if r.Name == "SET" && r.N%30 == 0 && lost < 10 {
				lost++
				return sim.Drop()
			}
			return sim.Pass()
		})
		if err := holder.Release(bg); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if took := time.Since(start); took > 30*time.Second || lost == 0 {
			t.Errorf("100 took %v, with %d lost replies", took, lost)
		}
		time.Sleep(5 * time.Second)
	})
}

func TestCrowdTellsContendedForThoseThatAsked(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holdByAnother(t, s, "key", time.Hour)
		a := countTries(l)
		var contended, gaveUp atomic.Int64
		l.Observer = &redigolock.Observer{
			Contended: func(context.Context, string, *redigolock.HeldError) { contended.Add(1) },
			GaveUp:    func(context.Context, string, time.Duration, error) { gaveUp.Add(1) },
		}
		l.Retry = redigolock.Tries(5, redigolock.Every(10*time.Millisecond))
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { _, _ = l.Acquire(bg, "key", time.Minute) })
		}
		wg.Wait()
		if c := int(contended.Load()); c != a.total || a.total >= 5*200 || gaveUp.Load() != 200 {
			t.Errorf("Contended %d times for %d tries, GaveUp %d times", c, a.total, gaveUp.Load())
		}
	})
}

func TestCrowdSurvivesAnAcquireFuncThatPanics(t *testing.T) {
	overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
		holder := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		var n atomic.Int64
		l.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
			if n.Add(1)%3 == 0 {
				panic("AcquireWith")
			}
			return redigolock.SetNXVerified(ctx, c, key, token, ttl)
		}
		l.Retry = redigolock.Every(50 * time.Millisecond)
		var wg sync.WaitGroup
		var done atomic.Int64
		for range 60 {
			wg.Go(func() {
				defer func() {
					_ = recover()
					done.Add(1)
				}()
				if k, err := l.Acquire(bg, "key", time.Minute); err == nil {
					_ = k.Release(bg)
				}
			})
		}
		time.Sleep(200 * time.Millisecond)
		_ = holder.Release(bg)
		wg.Wait()
		time.Sleep(5 * time.Second)
	})
}

// Waiters come and go, replies are lost, connections break, another process takes the lock in between: it is held by one at
// a time, and all who stay get it.
func TestCrowdChaos(t *testing.T) {
	for seed := range uint64(testbed.Many(6)) {
		overBoth(t, func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			rng, faults := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			l.OpTimeout = 100 * time.Millisecond
			s.Rule(func(r sim.Request) sim.Action {
				switch faults.IntN(200) {
				case 0:
					return sim.Drop()
				case 1:
					return sim.Cut()
				case 2:
					return sim.Swallow()
				case 3:
					return sim.Late(time.Duration(faults.IntN(300)) * time.Millisecond)
				case 4:
					return sim.Refuse("BUSY a script runs")
				}
				return sim.Pass()
			})
			other := simLocker(t, &redigolock.Locker{Pool: s.Pool(), OpTimeout: 100 * time.Millisecond})
			var holders, holds atomic.Int64
			use := func(l *redigolock.Locker, patience, hold time.Duration) {
				ctx, cancel := context.WithTimeout(bg, patience)
				defer cancel()
				k, err := l.Acquire(ctx, "key", time.Second)
				if err != nil {
					if patience > time.Hour/2 {
						t.Errorf("seed %d: %v", seed, err)
					}
					return
				}
				if holders.Add(1) > 1 {
					t.Errorf("seed %d: two holders", seed)
				}
				holds.Add(1)
				time.Sleep(min(hold, time.Until(k.Deadline())-time.Millisecond))
				holders.Add(-1)
				_ = k.Release(bg)
			}
			var wg sync.WaitGroup
			for i := range 150 {
				patience, l := time.Hour, l
				switch {
				case i%5 == 1:
					patience = time.Duration(rng.IntN(2000)) * time.Millisecond
				case i%10 == 2:
					l = other
				}
				late, hold := time.Duration(rng.IntN(1000))*time.Millisecond, time.Duration(rng.IntN(10))*time.Millisecond
				wg.Go(func() {
					time.Sleep(late)
					use(l, patience, hold)
				})
			}
			wg.Wait()
			if holds.Load() < 120 {
				t.Errorf("seed %d: %d holds", seed, holds.Load())
			}
			s.Rule(nil)
			time.Sleep(10 * time.Second)
		})
	}
}

// The answer to its try was given before the release, and comes after it.
func TestCrowdReleaseFindsAFirstTryInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: redigolock.Every(time.Hour)})
		k := mustGet(t)(l.TryAcquire(bg, "key", 2*time.Hour))
		s.Next("set", sim.Slow(100*time.Millisecond))
		acquired := inBackground(func() time.Duration {
			start := time.Now()
			mustGet(t)(l.Acquire(bg, "key", time.Minute))
			return time.Since(start)
		})
		time.Sleep(10 * time.Millisecond)
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		if took := <-acquired; took != 100*time.Millisecond {
			t.Errorf("it waited for %v, the answer took 100 ms", took)
		}
	})
}

// Two ask when the lock is released, and the first of them leaves.
func TestCrowdReleaseIsNotLostWhenAnAskingWaiterLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		var retries atomic.Int32
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: func(int, time.Duration) time.Duration {
			if retries.Add(1) <= 2 {
				return time.Second
			}
			return time.Hour
		}})
		k := mustGet(t)(l.TryAcquire(bg, "key", 2*time.Hour))
		ctx, cancel := context.WithCancel(bg)
		left := inBackground(func() error { _, err := l.Acquire(ctx, "key", time.Minute); return err })
		synctest.Wait()
		acquired := inBackground(func() time.Duration {
			start := time.Now()
			mustGet(t)(l.Acquire(bg, "key", time.Minute))
			return time.Since(start)
		})
		synctest.Wait()
		s.Next("set", sim.Slow(100*time.Millisecond), sim.Slow(100*time.Millisecond))
		time.Sleep(time.Second + 10*time.Millisecond)
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		cancel()
		wants(t, <-left, redigolock.ErrHeld, context.Canceled)
		if took := <-acquired; took != 1100*time.Millisecond {
			t.Errorf("it waited for %v, the pause and the answer took 1.1 s", took)
		}
	})
}

// BenchmarkAcquireThatMeetsNobody is an acquire and a release without any server: what it costs to count those that ask.
//
//	go test -run '^$' -bench AcquireThatMeetsNobody -cpu 1,2 -count 10
func BenchmarkAcquireThatMeetsNobody(b *testing.B) {
	l := &redigolock.Locker{Pool: instantPool{}}
	for _, v := range []struct {
		verb    string
		acquire func(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	}{{"TryAcquire", l.TryAcquire}, {"Acquire", l.Acquire}} {
		b.Run("verb="+v.verb, func(b *testing.B) {
			var n atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				key := fmt.Sprint("key", n.Add(1))
				for pb.Next() {
					k, err := v.acquire(bg, key, time.Minute)
					if err == nil {
						err = k.Release(bg)
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// A key that the clean-up frees is free for those that wait, at once.
func TestCleanUpThatFreesAKeyCallsAWaiter(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: time.Second, Retry: redigolock.Every(time.Hour)})
		s.Next("release", sim.Cut())
		loseATry(t, s, l)
		start := time.Now()
		k, err := l.Acquire(bg, "key", time.Minute)
		if took := time.Since(start); err != nil || took > l.OpTimeout {
			t.Fatalf("%v after %v", err, took)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}
