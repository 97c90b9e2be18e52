package redigolock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
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
			for _, word := range passing {
				r.Locker.AcquireWith = a.With
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
			for _, text := range []string{"NOAUTH x", "WRONGPASS x", "NOPERM x", "OOM x", "ERR unknown command 'SET'"} {
				r.Locker.AcquireWith = a.With
				before := len(r.Sent(a.Verb))
				refuse := redistest.Reply("-" + text + "\r\n")
				r.Proxy.Rule(func(redistest.Request) redistest.Action { return refuse })
				_, err := r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute)
				wants(t, err, redis.Error(text))
				wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld, context.DeadlineExceeded)
				if n := len(r.Sent(a.Verb)) - before; n != 1 {
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
			if err == nil || time.Since(start) > 5*time.Second {
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
				r.Locker.AcquireWith = a.With
				k := r.Must(r.Locker.TryAcquire(ctx, "warm", time.Minute))
				r.OK(k.Release(ctx))
				r.Locker.OpTimeout = 100 * time.Millisecond
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
				if took > 5*time.Second {
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
	for _, a := range acquireWays[:4] { // plain c.Do of a user's own knows no context: it is bounded by OpTimeout
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
				if took > 4*time.Second {
					t.Errorf("a context of %v blocked for %v", shortOp, took)
				}
				eventually(t, "the key is cleaned up", func() bool { return r.Get("key") == "" })
			})
		})
	}
}
