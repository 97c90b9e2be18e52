package redigolock_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

func TestAcquireGetsTheLockWhenItIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		waiting := make(chan int, 1000)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			waiting <- attempt
			return time.Millisecond
		}
		holder := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		got := inBackground(func() *redigolock.Lock { return r.Must(r.Locker.Acquire(bg, "key", time.Minute)) })
		receive(t, "the waiter waits", waiting)
		r.OK(holder.Release(bg))
		k := receive(t, "the waiter gets it", got)
		if r.Get("key") != k.Token() || k.Token() == holder.Token() {
			t.Errorf("the key holds %q", r.Get("key"))
		}
	})
}

func TestAcquireHandsOverBetweenGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const workers, cycles = 8, 20
		var inside, total atomic.Int64
		done := make(chan error, workers)
		for range workers {
			go func() {
				for range cycles {
					err := r.Locker.Do(bg, "key", 10*time.Second, func(context.Context, *redigolock.Lock) error {
						if inside.Add(1) != 1 {
							t.Error("two holders")
						}
						total.Add(1)
						inside.Add(-1)
						return nil
					})
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range workers {
			r.OK(<-done)
		}
		if total.Load() != workers*cycles {
			t.Errorf("%d of %d cycles", total.Load(), workers*cycles)
		}
	})
}

func TestAcquireWaitsOutAnExpiringHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "of a process that died", "PX", 100)
		r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
	})
}

var passing = []string{"LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS"}

func TestAcquireTriesAgainWhatTheServerCannotDoNow(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			learns(t, r.Locker)
			for _, word := range passing {
				before := len(r.Sent(a.Verb))
				refuse := redistest.Reply("-" + word + " not now\r\n")
				r.Plan(map[string][]redistest.Action{a.Verb: {refuse, refuse}, "get": {refuse, refuse}})
				k, err := r.Locker.Acquire(endsIn(t, 10*time.Second), word, time.Minute)
				if err != nil {
					t.Errorf("%s, %s: %v", a.Name, word, err)
					continue
				}
				if n := len(r.Sent(a.Verb)) - before; n != 3 {
					t.Errorf("%s, %s: %d tries", a.Name, word, n)
				}
				if k.Token() != r.Get(word) {
					t.Errorf("%s, %s: the key holds %q", a.Name, word, r.Get(word))
				}
			}
		})
	}
}

func TestAcquireOfARefusingServerEndsWithItsContextAndTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Reply("-LOADING not now\r\n") })
		ctx, cancel := context.WithCancel(bg)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			if attempt == 3 {
				cancel()
			}
			return time.Millisecond
		}
		_, err := r.Locker.Acquire(ctx, "key", time.Minute)
		wants(t, err, context.Canceled, redis.Error("LOADING not now"))
		wantsNot(t, err, redigolock.ErrHeld, redigolock.ErrUnknown)
	})
}

func TestAcquireEndsAtOnceWhenRefusedForGood(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			learns(t, r.Locker)
			for _, text := range []string{"NOAUTH x", "WRONGPASS x", "NOPERM x", "OOM x", "ERR unknown command 'SET'"} {
				r.Proxy.Rule(nil)
				before := len(r.Sent(a.Verb))
				refuse := redistest.Reply("-" + text + "\r\n")
				r.Proxy.Rule(func(redistest.Request) redistest.Action { return refuse })
				_, err := r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute)
				wants(t, err, redis.Error(text))
				wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld, context.DeadlineExceeded)
				want := 1
				if a.With == nil && text == "OOM x" {
					want = 2 // a full server may know who has it: SET and GET tell
				}
				if n := len(r.Sent(a.Verb)) - before; n != want {
					t.Errorf("%s, %s: %d tries", a.Name, text, n)
				}
			}
		})
	}
}

func TestAcquireWaitsForAServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Proxy.Refuse(true)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			r.Proxy.Refuse(attempt < 5)
			return time.Millisecond
		}
		r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
	})
}

func TestAcquireOfADeadServerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.Pool = r.Server.Pool()
		r.Server.Kill()
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(bg, 100*time.Millisecond, cause)
		defer cancel()
		_, err := r.Locker.Acquire(ctx, "key", time.Minute)
		wants(t, err, context.DeadlineExceeded, cause)
		wantsNot(t, err, redigolock.ErrHeld, redigolock.ErrUnknown) // nothing was sent
		_, err = r.Locker.TryAcquire(bg, "key", time.Minute)
		if err == nil || errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("a refused connection is %v", err)
		}
	})
}

func TestWaitThatEndsWithItsContextIsErrHeldAndTheCause(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Do("SET", "key", "another's", "PX", 60000)
			cause := errors.New("the cause")
			ctx, cancel := context.WithCancelCause(bg)
			r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
				if attempt == 2 {
					cancel(cause)
				}
				return time.Millisecond
			}
			_, err := r.Locker.Acquire(ctx, "key", time.Minute)
			wants(t, err, redigolock.ErrHeld, cause, context.Canceled)
			wantsNot(t, err, redigolock.ErrUnknown)
			if r.Get("key") != "another's" {
				t.Errorf("%s touched another's lock", a.Name)
			}
		})
	}
}

func TestWaitThatEndsDuringATryIsErrHeldToo(t *testing.T) {
	for name, with := range map[string]redigolock.AcquireFunc{
		"SetNXVerified": nil,
		"own": func(context.Context, redis.Conn, string, string, time.Duration) error {
			return redigolock.ErrHeld // plain
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				pool := r.Proxy.Pool()
				pool.MaxActive, pool.Wait = 1, true
				r.Locker.Pool, r.Locker.AcquireWith = pool, with
				r.Do("SET", "key", "another's", "PX", 60000)
				ctx, cancel := context.WithCancel(bg)
				r.Locker.Retry = func(int, time.Duration) time.Duration {
					busy := pool.Get()
					r.OK(busy.Err())
					t.Cleanup(func() { busy.Close() })
					return 0
				}
				ended := inBackground(func() error {
					_, err := r.Locker.Acquire(ctx, "key", time.Minute)
					return err
				})
				eventually(t, "the second try waits for the pool", func() bool { return running(").waitVacantConn(") })
				cancel()
				wants(t, receive(t, "Acquire ends", ended), redigolock.ErrHeld, context.Canceled)
			})
		})
	}
}

func TestContextThatEndsBetweenTwoTriesSendsNothingMore(t *testing.T) {
	for range 20 { // the pause of 0 and the context are over in the same moment
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			var calls atomic.Int64
			r.Locker.AcquireWith = func(_ context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
				calls.Add(1)
				return plainSetNX(bg, c, key, token, ttl)
			}
			var other *redigolock.Lock
			ctx, cancel := context.WithCancel(bg)
			r.Locker.Retry = func(int, time.Duration) time.Duration {
				r.OK(other.Release(bg))
				cancel()
				return 0
			}
			other = r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			_, err := r.Locker.Acquire(ctx, "key", time.Minute)
			wants(t, err, context.Canceled, redigolock.ErrHeld)
			if n := calls.Load(); n != 2 {
				t.Fatalf("a try began after the context had ended")
			}
		})
	}
}

func TestContextThatEndsWhileWaitingForThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool = pool
		busy := pool.Get()
		defer busy.Close()
		cause := errors.New("the cause")
		for name, acquire := range map[string]func(context.Context) (*redigolock.Lock, error){
			"try": func(ctx context.Context) (*redigolock.Lock, error) {
				return r.Locker.TryAcquire(ctx, "key", time.Minute)
			},
			"acquire": func(ctx context.Context) (*redigolock.Lock, error) {
				return r.Locker.Acquire(ctx, "key", time.Minute)
			},
		} {
			ctx, cancel := context.WithCancelCause(bg)
			ended := inBackground(func() error {
				_, err := acquire(ctx)
				return err
			})
			eventually(t, name+" waits for the pool", func() bool { return running(").waitVacantConn(") })
			cancel(cause)
			err := receive(t, "it ends", ended)
			wants(t, err, context.Canceled, cause)
			wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld)
		}
	})
}

func TestOpTimeoutBoundsTheWaitForThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, 100*time.Millisecond
		busy := pool.Get()
		defer busy.Close()
		for _, ctx := range []context.Context{bg, endsIn(t, time.Minute)} {
			start := time.Now()
			_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
			if err == nil || time.Since(start) != r.Locker.OpTimeout {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			wantsNot(t, err, redigolock.ErrUnknown, context.DeadlineExceeded, context.Canceled)
		}
	})
}

func TestOpTimeoutBoundsAHungServer(t *testing.T) {
	for _, a := range acquireWays {
		for _, ends := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				r, ctx := newSimRig(t), bg
				if ends {
					ctx = endsIn(t, time.Minute)
				}
				r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, 100*time.Millisecond
				k := r.Must(r.Locker.TryAcquire(ctx, "warm", time.Minute))
				r.OK(k.Release(ctx))
				r.Server.Pause()
				var took time.Duration
				err := untilSent(func() int { return len(r.Sent(a.Verb)) }, func() error {
					start := time.Now()
					_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
					took = max(took, time.Since(start))
					return err
				})
				r.Server.Resume()
				wants(t, err, redigolock.ErrUnknown)
				wantsNot(t, err, context.DeadlineExceeded, context.Canceled)
				if took != r.Locker.OpTimeout {
					t.Errorf("%s: %v", a.Name, took)
				}
			})
		}
	}
}

func TestAcquireThroughADialThatHangsWithoutContextEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Server.Dial)
		dialer.hang()
		l := &redigolock.Locker{Pool: dialer.pool()}
		ended := inBackground(func() error {
			_, err := l.Acquire(endsIn(t, 50*time.Millisecond), "key", time.Minute)
			return err
		})
		err := receive(t, "Acquire ends", ended)
		wants(t, err, context.DeadlineExceeded)
		wantsNot(t, err, redigolock.ErrUnknown)
	})
}

// redsync on redigo drops ctx after Get: a ctx of 100 ms blocked for 2 s and returned success.
func TestCancelledContextDoesNotBlockLikeRedsync(t *testing.T) {
	for _, a := range acquireWays[:5] { // plain c.Do of a user's own knows no context: it is bounded by OpTimeout
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, 9*time.Second
				k := r.Must(r.Locker.TryAcquire(bg, "warm", time.Minute))
				r.OK(k.Release(bg))
				r.Server.Pause()
				start := time.Now()
				_, err := r.Locker.TryAcquire(endsIn(t, shortOp), "key", time.Minute)
				took := time.Since(start)
				r.Server.Resume()
				wants(t, err, redigolock.ErrUnknown, context.DeadlineExceeded)
				if took != shortOp {
					t.Errorf("a context of %v blocked for %v", shortOp, took)
				}
				eventually(t, "the key is cleaned up", func() bool { return r.Get("key") == "" })
			})
		})
	}
}

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

// losses lose the reply of a request: carried out or not, at once or after OpTimeout.
var losses = []struct {
	name   string
	action redistest.Action
}{
	{"drop", redistest.Drop()},
	{"cut", redistest.Cut()},
	{"swallow", redistest.Swallow()},
	{"truncate", redistest.Truncate(1)},
}

// everyLoss runs f for each way to acquire and each way to lose its reply.
func everyLoss(t *testing.T, f func(t *testing.T, r *rig, verb string, loss redistest.Action)) {
	for _, a := range acquireWays {
		for _, x := range losses {
			t.Run(a.Name+"/"+x.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSimRig(t)
					r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, shortOp
					f(t, r, a.Verb, x.action)
				})
			})
		}
	}
}

func TestOneTokenServesAWholeAcquire(t *testing.T) {
	everyLoss(t, func(t *testing.T, r *rig, verb string, loss redistest.Action) {
		r.Plan(map[string][]redistest.Action{verb: {loss, loss, redistest.Reply("-LOADING wait\r\n")}})
		k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
		for _, q := range r.Sent(verb) {
			if token := q.Args[tokenAt(verb)]; token != k.Token() {
				t.Errorf("a try used the token %q, the handle has %q", token, k.Token())
			}
		}
		if n := len(r.Sent(verb)); n < 3 {
			t.Errorf("%d tries, the first two were lost", n)
		}
		if r.Get("key") != k.Token() {
			t.Errorf("the key holds %q", r.Get("key"))
		}
	})
}

// tokenAt is where the token stands in the arguments.
func tokenAt(verb string) int {
	if verb == "set" {
		return 1
	}
	return 3
}

// The clock moves by 10 s whenever a request arrives, so that each send has a time of its own.
func TestAdoptedTokenCountsFromAnExtendNeverFromTheLastTry(t *testing.T) {
	everyLoss(t, func(t *testing.T, r *rig, verb string, loss redistest.Action) {
		c := stopClock(r.Locker)
		first := c.Now()
		var extended time.Time
		r.Rule(func(v string, n int) redistest.Action {
			defer c.Add(10 * time.Second)
			switch {
			case v == verb && n == 1:
				return loss
			case v == "extend":
				extended = c.Now()
			}
			return redistest.Pass()
		})
		k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", 5*time.Minute))
		safe := first
		if !extended.IsZero() {
			safe = extended
		}
		if late := k.Deadline().Sub(safe.Add(validFor(5 * time.Minute))); late > 0 {
			t.Errorf("Deadline is %v later than what is known", late)
		}
		if k.Deadline().Before(first.Add(time.Minute)) {
			t.Error("Deadline is no later than that of the lost try")
		}
	})
}

// The same in real time, judged by what the server has left.
func TestAdoptedTokenIsValidNoLongerThanTheServersTTL(t *testing.T) {
	for _, a := range acquireWays {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith = a.With
				r.Locker.Retry = func(int, time.Duration) time.Duration { return 500 * time.Millisecond }
				r.Plan(map[string][]redistest.Action{a.Verb: {redistest.Drop()}})
				k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", 10*time.Second))
				if over := r.afterTheKeysEnd(k); over > 0 {
					t.Errorf("Deadline is %v after the key's end", over)
				}
			})
		})
	}
}

// afterTheKeysEnd is how much later Deadline is than the server's end of the lock.
func (r *rig) afterTheKeysEnd(k *redigolock.Lock) time.Duration {
	r.T.Helper()
	left := r.PTTL(k.Key()) // first: what passes until the clock is read counts for the server
	return k.Deadline().Sub(time.Now().Add(left))
}

// SET was carried out, and only the GET behind it was refused: whose lock it is cannot be told by the next GET.
func TestTokenThatWasSetButNotReadBackIsAdoptedSafely(t *testing.T) {
	for _, word := range []string{"BUSY", "LOADING", "MASTERDOWN"} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			c := stopClock(r.Locker)
			start := c.Now()
			var extended time.Time
			r.Rule(func(v string, n int) redistest.Action {
				switch {
				case v == "get" && n == 1:
					return redistest.Reply("-" + word + " not now\r\n")
				case v == "set" && n == 2:
					c.Add(20 * time.Second)
				case v == "extend":
					extended = c.Now()
				}
				return redistest.Pass()
			})
			r.Locker.Retry = func(int, time.Duration) time.Duration {
				c.Add(20 * time.Second)
				return 0
			}
			k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
			safe := start
			if !extended.IsZero() {
				safe = extended
			}
			if late := k.Deadline().Sub(safe.Add(validFor(time.Minute))); late > 0 {
				t.Errorf("%s: Deadline is %v later than what is known", word, late)
			}
			r.OK(k.Release(bg))
		})
	}
}

func TestTokenThatWasSetButCannotBeReadBackIsCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.AcquireWith = redigolock.SetNXVerified
		r.Rule(func(v string, n int) redistest.Action {
			if v == "get" {
				return redistest.Reply("-NOPERM no\r\n")
			}
			return redistest.Pass()
		})
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			t.Error("NOPERM was tried again")
			return -1
		}
		k, err := r.Locker.Acquire(bg, "key", time.Minute)
		if k != nil || err == nil {
			t.Errorf("lock %v, error %v", k, err)
		}
		eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
	})
}

func TestTryAcquireAsksOnceMoreOnAnotherConnection(t *testing.T) {
	for _, a := range acquireWays {
		for _, loss := range []redistest.Action{redistest.Drop(), redistest.Truncate(1), redistest.Cut()} {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, time.Second
				learns(t, r.Locker)
				before := len(r.Sent(a.Verb))
				r.Plan(map[string][]redistest.Action{a.Verb: {loss}})
				k, err := r.Locker.TryAcquire(bg, "key", time.Minute)
				if err != nil {
					t.Errorf("%s: %v", a.Name, err)
					return
				}
				if tries := r.Sent(a.Verb)[before:]; len(tries) != 2 || tries[0].Conn == tries[1].Conn {
					t.Errorf("%s: tries %v", a.Name, tries)
				}
				if over := r.afterTheKeysEnd(k); over > 0 {
					t.Errorf("%s: Deadline is %v after the key's end", a.Name, over)
				}
				r.OK(k.Release(bg))
			})
		}
	}
}

func TestTryAcquireThatCannotTellIsErrUnknownNeverSuccess(t *testing.T) {
	everyLoss(t, func(t *testing.T, r *rig, verb string, loss redistest.Action) {
		r.Plan(map[string][]redistest.Action{verb: {loss, loss}, "extend": {loss}})
		k, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		wantsNot(t, err, context.DeadlineExceeded, redigolock.ErrHeld)
		if k != nil {
			t.Error("an ambiguous outcome gave a handle")
		}
		eventually(t, "the key is cleaned up", func() bool { return r.Get("key") == "" })
	})
}

func TestTryAcquireWhoseSetWasNotCarriedOutIsErrUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Plan(map[string][]redistest.Action{"set": {redistest.Cut(), redistest.Cut()}})
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown) // "not there" proves nothing: it may still be on its way
	})
}

func TestContextThatEndsWhileItAsksOnceMoreIsInTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		cause := errors.New("the cause")
		ctx, cancel := context.WithCancelCause(bg)
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set" && n == 1:
				return redistest.Drop()
			case verb == "set":
				cancel(cause)
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown, context.Canceled, cause)
	})
}

func TestContextThatEndsDuringAUsersOwnCommandIsInTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.AcquireWith, r.Locker.OpTimeout = plainSetNX, shortOp
		cause := errors.New("the cause")
		ctx, cancel := context.WithCancelCause(bg)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "set" {
				cancel(cause)
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown, context.Canceled, cause)
	})
}

func TestDelayedReplyIsASuccess(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			learns(t, r.Locker)
			before := len(r.Sent(a.Verb))
			r.Plan(map[string][]redistest.Action{a.Verb: {redistest.Delay(100 * time.Millisecond)}})
			start := time.Now()
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			if n := len(r.Sent(a.Verb)) - before; n != 1 || len(r.Sent("extend")) != 0 {
				t.Errorf("%s: %d tries", a.Name, n)
			}
			if took := time.Since(start); took != 100*time.Millisecond || r.afterTheKeysEnd(k) > 0 {
				t.Errorf("%s: Deadline is after the key's end, or it took %v", a.Name, took)
			}
		})
	}
}

// node-redlock blocked itself on its own token.
func TestAcquireDoesNotBlockItselfOnItsOwnTokenLikeNodeRedlock(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Plan(map[string][]redistest.Action{a.Verb: {redistest.Drop()}})
			k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Hour))
			if r.Get("key") != k.Token() || len(r.Sent(a.Verb)) > 3 {
				t.Errorf("%s: %d tries", a.Name, len(r.Sent(a.Verb)))
			}
		})
	}
}

func TestAcquireThatLostAReplyAndThenFoundAnotherHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		learns(t, r.Locker)
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		r.Rule(func(verb string, n int) redistest.Action {
			if verb != "set" {
				return redistest.Pass()
			}
			switch n {
			case 1:
				r.Do("SET", "key", "another's", "PX", 60000)
				return redistest.Cut()
			case 3:
				cancel()
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.Acquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld, redigolock.ErrUnknown, context.Canceled)
		if r.Get("key") != "another's" {
			t.Error("another's lock was touched")
		}
	})
}

func TestAdoptedLockThatIsGoneWhenRenewedIsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set" && n == 1:
				return redistest.Drop()
			case verb == "extend":
				r.Do("DEL", "key")
			}
			return redistest.Pass()
		})
		k, err := r.Locker.Acquire(endsIn(t, 5*time.Second), "key", time.Minute)
		if err == nil && r.Get("key") != k.Token() {
			t.Error("a lock that is gone was given")
		}
		if err != nil {
			wants(t, err, redigolock.ErrExpired, redigolock.ErrUnknown)
		}
	})
}

// Where the connection breaks late, the second try has what is left of the first one's OpTimeout.
func TestSecondTryEndsWithTheFirstsOpTimeout(t *testing.T) {
	for _, mux := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			var p redigolock.Pool = simPool(t, s, "redis")
			if mux {
				m := &redigolock.Mux{Pool: p}
				t.Cleanup(func() { m.Close() })
				p = m
			}
			l := simLocker(t, &redigolock.Locker{Pool: p, OpTimeout: time.Second, AcquireWith: redigolock.SetNX})
			s.Next("set", sim.Swallow(), sim.Swallow())
			start := time.Now()
			time.AfterFunc(900*time.Millisecond, s.Cut)
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
			if took := time.Since(start); took != time.Second || s.Count("set") != 2 {
				t.Errorf("mux %v: %d tries took %v", mux, s.Count("set"), took)
			}
		})
	}
}

// A second try that finds a token, and is not told whose it is, asks by an Extend: that decides.
func TestTokenThatASecondTryFoundCountsFromItsExtend(t *testing.T) {
	for name, extend := range map[string]sim.Action{"answered": sim.Pass(), "lost": sim.Drop(), "not held": sim.Answer(":0\r\n")} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			knownScripts(t, s)
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: time.Second, AcquireWith: redigolock.SetNX})
			s.Next("set", sim.Swallow())
			s.Next("extend", extend)
			start := time.Now()
			time.AfterFunc(300*time.Millisecond, s.Cut)
			k, err := l.TryAcquire(bg, "key", time.Minute)
			switch name {
			case "answered":
				if err != nil {
					t.Fatal(err)
				}
				if after := k.Deadline().Sub(start) - validFor(time.Minute); after != 300*time.Millisecond {
					t.Errorf("Deadline counts from %v after the first send", after)
				}
			case "lost":
				wants(t, err, redigolock.ErrUnknown)
				wantsNot(t, err, redigolock.ErrHeld)
			default:
				wants(t, err, redigolock.ErrHeld, redigolock.ErrUnknown) // the first one may come late
			}
		})
	}
}

// Who waits for the pool in vain waits for a whole OpTimeout, though several share the timer.
func TestEachWaitsForThePoolForAWholeOpTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		pool := simPool(t, s, "redis")
		pool.MaxActive, pool.Wait = 1, true
		busy := pool.Get()
		defer busy.Close()
		l := simLocker(t, &redigolock.Locker{Pool: pool, OpTimeout: time.Second})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				start := time.Now()
				_, err := l.TryAcquire(bg, "key", time.Minute)
				wants(t, err, redigolock.ErrUnavailable)
				if took := time.Since(start); took != time.Second {
					t.Errorf("it waited for %v", took)
				}
			})
			time.Sleep(30 * time.Millisecond)
		}
		all.Wait()
	})
}

// A server that may not write any more is left: the next call dials.
func TestConnectionIsClosedThatSaysReadOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), AcquireWith: redigolock.SetNX})
		s.Next("set", sim.Refuse("READONLY You can't write against a read only replica."))
		if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
			t.Error("it got the lock")
		}
		if _, err := l.TryAcquire(bg, "key", time.Minute); err != nil || s.Accepted() != 2 {
			t.Errorf("%v, over connection %d", err, s.Accepted())
		}
	})
}
