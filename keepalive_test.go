package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

func TestKeepAliveRenewsAtHalfOfTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl, renewals = 2 * time.Second, 4
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		last := k.Deadline() // it counts from the send
		kept := k.KeepAlive(bg)
		for i := range renewals {
			eventually(t, "the next renewal", func() bool { return k.Deadline().After(last) || kept.Err() != nil })
			if kept.Err() != nil {
				t.Fatalf("the lock was lost: %v", context.Cause(kept))
			}
			pause := k.Deadline().Sub(last)
			if last = last.Add(pause); pause > ttl/2 || pause < ttl/2-ttl/32 {
				t.Errorf("renewal %d was sent %v after the one before", i+1, pause)
			}
		}
		r.OK(k.Release(bg))
	})
}

func TestRenewalUsesTheTTLOfTheAcquireAndComparesTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", 1400*time.Millisecond))
		k.KeepAlive(bg)
		eventually(t, "a renewal", func() bool { return len(r.Sent("extend")) > 0 })
		_ = k.Release(bg)
		if q := r.Sent("extend")[0]; q.Args[3] != k.Token() || q.Args[4] != "1400" {
			t.Errorf("the renewal was %v", q)
		}
		for _, q := range r.Proxy.Requests() {
			if q.Name == "PEXPIRE" || q.Name == "EXPIRE" {
				t.Errorf("%v compares nothing", q)
			}
		}
	})
}

// Redisson had a renewal that outlived unlock. Release waits for as long as OpTimeout; this renewal gives up long before,
// after half of what is left.
func TestReleaseStopsTheRenewalFirstAndWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = time.Minute
		renewing := make(chan struct{}, 100)
		r.Do("SET", "key", "token", "PX", 3000)
		k := r.Must(r.Locker.Attach(bg, "key", "token", 5*time.Minute)) // its renewal is due at once
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "extend" {
				renewing <- struct{}{}
				return redistest.Hold(nil)
			}
			return redistest.Pass()
		})
		kept := k.KeepAlive(bg)
		receive(t, "the renewal is sent", renewing)
		r.OK(k.Release(bg))
		if kept.Err() == nil || context.Cause(kept) != context.Canceled {
			t.Errorf("the context after Release: %v", context.Cause(kept))
		}
		if redigolock.Renewing(k) {
			t.Error("the renewal outlives Release")
		}
		sent := r.Proxy.Requests()
		if last := verbOf(sent[len(sent)-3]); last != "release" { // DELEX and DELIFEQ follow it, for it is the first
			t.Errorf("the last command is %s", last)
		}
		r.Silent("a released lock", func() {
			again := time.Now()
			eventually(t, "some time passes", func() bool { return time.Since(again) > 100*time.Millisecond })
		})
	})
}

func TestReleaseIsNotSentWhileARenewalIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := newGatedPool(r.Proxy.Pool())
		r.Locker.Pool, r.Locker.OpTimeout = pool, time.Minute
		k := r.dueAtOnce(r.Locker, "key")[0]
		pool.armed.Store(true)
		k.KeepAlive(bg)
		receive(t, "the renewal borrows", pool.waiting)
		released := inBackground(func() error { return k.Release(bg) })
		start := time.Now()
		eventually(t, "some time passes", func() bool { return time.Since(start) > 200*time.Millisecond })
		if n := len(r.Sent("release")); n != 0 {
			t.Error("the release was sent before the renewal had ended")
		}
		close(pool.open)
		r.OK(receive(t, "Release returns", released))
		if n := len(r.Sent("extend")); n != 0 || redigolock.Renewing(k) {
			t.Errorf("%d renewals were sent for a lock that is being released", n)
		}
	})
}

func TestKeepAliveEndsBeforeTheReleaseIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		kept := k.KeepAlive(bg)
		ended := make(chan error, 1)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "release" {
				ended <- kept.Err()
			}
			return redistest.Pass()
		})
		r.OK(k.Release(bg))
		if receive(t, "the release", ended) == nil {
			t.Error("the work went on while the lock was released")
		}
	})
}

// Redisson had a renewal that never ran again after it had failed once.
func TestRenewalAfterOneFailureGoesOn(t *testing.T) {
	reply := redistest.Reply
	for name, failures := range map[string][]redistest.Action{
		"lost":      {redistest.Drop()},
		"cut":       {redistest.Cut(), redistest.Cut(), redistest.Cut()},
		"loading":   {reply("-LOADING a\r\n"), reply("-BUSY b\r\n"), reply("-READONLY c\r\n"), reply("-MISCONF d\r\n")},
		"truncated": {redistest.Truncate(1)},
		"hangs":     {redistest.Swallow()},
		"refused":   {reply("-NOPERM e\r\n"), reply("-OOM f\r\n"), reply("$-1\r\n"), reply("?")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.OpTimeout = shortOp
				k := r.Must(r.Locker.TryAcquire(bg, "key", 4*time.Second))
				first := k.Deadline()
				r.Plan(map[string][]redistest.Action{"extend": failures})
				kept := k.KeepAlive(bg)
				eventually(t, "it is renewed", func() bool { return k.Deadline().After(first) || kept.Err() != nil })
				if kept.Err() != nil {
					t.Fatalf("lost: %v", context.Cause(kept))
				}
				if n := len(r.Sent("extend")); n <= len(failures) {
					t.Errorf("%d renewals were sent", n)
				}
				r.OK(k.Release(bg))
			})
		})
	}
}

func TestRenewalThatHangsOnceIsTriedAgainThoughOpTimeoutIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.Locker.TryAcquire(bg, "key", 3*time.Second))
		first := k.Deadline()
		r.Plan(map[string][]redistest.Action{"extend": {redistest.Swallow()}})
		kept := k.KeepAlive(bg)
		eventually(t, "it is renewed", func() bool { return k.Deadline().After(first) || kept.Err() != nil })
		if kept.Err() != nil {
			t.Errorf("one hung connection cost the lock: %v", context.Cause(kept))
		}
		k.Release(bg)
	})
}

// The renewal of a lock of a minute hangs on a dead connection. It does not cost a lock with less time that is kept alive since, and what it
// says does not look as if somebody had cancelled it.
func TestRenewalThatHangsDoesNotCostALockThatIsKeptSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 5 * time.Second
		told := toldOf(r.Locker, "extend")
		long := r.Must(r.Locker.TryAcquire(bg, "long", time.Minute))
		keptLong := long.KeepAlive(bg)
		r.Plan(map[string][]redistest.Action{"extend": {redistest.Swallow()}})
		time.Sleep(30*time.Second + 100*time.Millisecond)
		short := r.Must(r.Locker.TryAcquire(bg, "short", time.Second))
		keptShort := short.KeepAlive(bg)
		time.Sleep(10 * time.Second)
		if keptLong.Err() != nil || keptShort.Err() != nil {
			t.Errorf("lost: %v, %v", context.Cause(keptLong), context.Cause(keptShort))
		}
		all := told.all()
		if len(all) != 1 {
			t.Fatalf("told %v", all)
		}
		wants(t, all[0], redigolock.ErrUnknown, os.ErrDeadlineExceeded)
		if errors.Is(all[0], context.Canceled) {
			t.Error(all[0])
		}
		r.OK(long.Release(bg))
		r.OK(short.Release(bg))
	})
}

func TestExhaustedPoolDoesNotCostTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, shortOp
		const ttl = 2 * time.Second
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		first := k.Deadline()
		kept := k.KeepAlive(bg)
		eventually(t, "it outlives its ttl", func() bool { return time.Since(first) > ttl/2 })
		if kept.Err() != nil {
			t.Error(context.Cause(kept))
		}
		r.OK(k.Release(bg))
	})
}

func TestParentEndsKeepAliveAndTheLastOneEndsTheRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		cause := errors.New("the parent's cause")
		parent1, cancel1 := context.WithCancelCause(bg)
		parent2, cancel2 := context.WithCancelCause(bg)
		kept1, kept2 := k.KeepAlive(parent1), k.KeepAlive(parent2)
		cancel1(cause)
		receive(t, "the first context ends", kept1.Done())
		if got := context.Cause(kept1); got != cause {
			t.Errorf("its cause is %v", got)
		}
		if kept2.Err() != nil || !redigolock.Renewing(k) {
			t.Error("the first parent ended the second context, or its renewals")
		}
		cancel2(cause)
		eventually(t, "the renewals end", func() bool { return !redigolock.Renewing(k) })
		r.OK(k.Verify(bg)) // it is still held

		kept3 := k.KeepAlive(bg) // and can be kept alive again
		if kept3.Err() != nil || !redigolock.Renewing(k) {
			t.Error("it is not kept alive again")
		}
		r.OK(k.Release(bg))
		receive(t, "the third context ends", kept3.Done())
	})
}

func TestSecondKeepAliveSharesTheRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl = 2 * time.Second
		start := time.Now()
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		deadline := k.Deadline()
		first, second := k.KeepAlive(bg), k.KeepAlive(context.WithValue(bg, ctxKey{}, "value"))
		if second.Value(ctxKey{}) != "value" {
			t.Error("the context's values are gone")
		}
		eventually(t, "it is renewed twice", func() bool { return k.Deadline().Sub(deadline) > ttl*3/4 || first.Err() != nil })
		if n := len(r.Sent("extend")); n > 2 && time.Since(start) < ttl*5/4 { // then the third is not due yet
			t.Errorf("%d renewals in the time of two", n)
		}
		r.OK(k.Release(bg))
		for _, kept := range []context.Context{first, second} {
			receive(t, "the context ends", kept.Done())
			if cause := context.Cause(kept); cause != context.Canceled {
				t.Errorf("the cause is %v", cause)
			}
		}
	})
}

type ctxKey struct{}

func TestKeepAliveOfAnEndedParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		cause := errors.New("the parent's cause")
		parent, cancel := context.WithCancelCause(bg)
		cancel(cause)
		kept := k.KeepAlive(parent)
		if kept.Err() == nil || context.Cause(kept) != cause {
			t.Errorf("the cause is %v", context.Cause(kept))
		}
		eventually(t, "the renewals end", func() bool { return !redigolock.Renewing(k) })
		r.OK(k.Release(bg))
	})
}

func TestKeepAliveOfALockThatIsOverIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		c.Add(time.Minute)
		r.Silent("KeepAlive", func() {
			kept := k.KeepAlive(bg)
			if kept.Err() == nil {
				t.Fatal("an expired lock is kept alive")
			}
			wants(t, context.Cause(kept), redigolock.ErrLost)
		})
	})
}

func TestKeepAliveNeverLowersWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl = time.Second
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		k.KeepAlive(bg)
		r.OK(k.Extend(bg, time.Hour))
		start := time.Now()
		eventually(t, "a ttl passes", func() bool { return time.Since(start) > ttl*5/4 })
		if left := r.PTTL("key"); left < 50*time.Minute {
			t.Errorf("a renewal lowered it to %v", left)
		}
		r.OK(k.Release(bg))
	})
}

// A wake-up, a write and a read for each lock would cost several times the processor time.
func TestRenewalsThatAreDueCloseTogetherTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl = 64 * time.Second // 1 s early is allowed
		var locks []*redigolock.Lock
		for i := range 100 {
			key := fmt.Sprint("key", i)
			left := ttl/2 + ttl/200 + 1200*time.Millisecond + time.Duration(i)*5*time.Millisecond
			r.Do("SET", key, "token", "PX", left.Milliseconds())
			locks = append(locks, r.Must(r.Locker.Attach(bg, key, "token", ttl)))
		}
		before, batches := deadlines(locks), map[time.Time]bool{}
		for _, k := range locks {
			k.KeepAlive(bg)
		}
		r.renewedSince(locks, before)
		for _, k := range locks {
			batches[k.Deadline()] = true // it counts from the batch's send
		}
		if len(batches) > 10 {
			t.Errorf("%d batches for 100 locks that were due within half a second", len(batches))
		}
	})
}

// Observer.Lost is called once for a lock, also where its time was over before the first KeepAlive.
func TestKeepAliveOfALockThatIsOverIsToldToTheObserverOnce(t *testing.T) {
	for name, end := range map[string]func(*rig, *clock, *redigolock.Lock){
		"Deadline": func(_ *rig, c *clock, _ *redigolock.Lock) { c.Add(time.Minute) },
		"MaxHold":  func(_ *rig, c *clock, _ *redigolock.Lock) { c.Add(30 * time.Second) },
		"deleted": func(r *rig, _ *clock, k *redigolock.Lock) {
			r.Do("DEL", k.Key())
			wants(r.T, k.Verify(bg), redigolock.ErrNotHeld)
		},
		"deleted, and kept alive": func(r *rig, _ *clock, k *redigolock.Lock) {
			r.Do("DEL", k.Key())
			k.KeepAlive(bg)
			wants(r.T, k.Verify(bg), redigolock.ErrNotHeld)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				if name == "MaxHold" {
					r.Locker.MaxHold = 20 * time.Second
				}
				var causes []error
				r.Locker.Observer = &redigolock.Observer{
					Lost: func(_ context.Context, _ *redigolock.Lock, cause error) { causes = append(causes, cause) },
				}
				c := stopClock(r.Locker)
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				end(r, c, k)
				for range 2 {
					kept := k.KeepAlive(bg)
					wants(t, context.Cause(kept), redigolock.ErrLost)
				}
				if len(causes) != 1 {
					t.Fatalf("Lost was called %d times: %v", len(causes), causes)
				}
				wants(t, causes[0], redigolock.ErrLost)
				if n := r.Locker.Stats().Held; n != 0 {
					t.Errorf("%d locks are held", n)
				}
				if err := k.Release(bg); name != "MaxHold" { // which leaves the key its own
					wants(t, err, redigolock.ErrNotHeld)
				}
				wants(t, context.Cause(k.KeepAlive(bg)), context.Canceled)
			})
		})
	}
}

// Release waits for the renewal that is in flight, and then tries twice: all of that in the time of two tries.
func TestReleaseBehindARenewalThatHangsTakesTwoOpTimeouts(t *testing.T) {
	for name, releases := range map[string]sim.Action{"hangs": sim.Swallow(), "is answered": sim.Pass()} {
		t.Run("the release "+name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				const op = 2 * time.Second
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: op})
				k, err := l.TryAcquire(bg, "key", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				s.Rule(func(q sim.Request) sim.Action {
					switch q.Verb {
					case "extend":
						return sim.Swallow()
					case "release":
						return releases
					}
					return sim.Pass()
				})
				k.KeepAlive(bg)
				time.Sleep(30 * time.Second) // the renewal is sent
				synctest.Wait()
				if s.Count("extend") == 0 || !redigolock.Renewing(k) {
					t.Fatal("no renewal is in flight: this test proves nothing")
				}
				start := time.Now()
				err = k.Release(bg)
				took := time.Since(start)
				switch name {
				case "hangs":
					if took != 2*op {
						t.Errorf("it took %v, with an OpTimeout of %v", took, op)
					}
					wants(t, err, redigolock.ErrUnknown)
					synctest.Wait() // the clean-up begins at this very instant
					if n := s.Count("release") - testbed.SentSince(s, "release", start.Add(2*op)); n != 2 {
						t.Errorf("%d tries", n)
					}
				default:
					if err != nil || took >= op {
						t.Errorf("%v after %v, with an OpTimeout of %v", err, took, op)
					}
				}
			})
		})
	}
}

func TestLostLockEndsKeepAliveAtOnce(t *testing.T) {
	for name, x := range map[string]struct {
		lose func(*rig)
		want error
	}{
		"deleted": {func(r *rig) { r.Do("DEL", "key") }, redigolock.ErrNotHeld},
		"taken":   {func(r *rig) { r.Do("SET", "key", "another's", "PX", 60000) }, redigolock.ErrNotHeld},
		"overwritten": {func(r *rig) {
			r.Do("DEL", "key")
			r.Do("RPUSH", "key", "token")
		}, redigolock.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				k := r.dueAtOnce(r.Locker, "key")[0]
				x.lose(r)
				kept := k.KeepAlive(bg)
				receive(t, "the context ends", kept.Done())
				wants(t, context.Cause(kept), redigolock.ErrLost, x.want)
				if n := len(r.Sent("extend")); n != 1 {
					t.Errorf("%d renewals", n)
				}
				if time.Now().After(k.Deadline()) {
					t.Error("it took until Deadline")
				}
				mustNotBeHeld(t, r, k)
				wants(t, k.Release(bg), redigolock.ErrNotHeld)
			})
		})
	}
}

func TestAnyMethodThatFindsTheLockLostEndsKeepAlive(t *testing.T) {
	for name, use := range lockUses() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				kept := k.KeepAlive(bg)
				r.Do("DEL", "key")
				wants(t, use(bg, k), redigolock.ErrNotHeld)
				receive(t, "the context ends", kept.Done())
				wants(t, context.Cause(kept), redigolock.ErrLost, redigolock.ErrNotHeld)
			})
		})
	}
}

// What counts is when the context ends, compared with Deadline.
func TestHungServerEndsKeepAliveNoLaterThanDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "extend" {
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		var wg sync.WaitGroup
		for i := range 32 { // each ends at a moment of its own
			ttl := 100*time.Millisecond + time.Duration(i)*50*time.Millisecond
			k := r.Must(r.Locker.TryAcquire(bg, fmt.Sprint(i), ttl))
			kept := k.KeepAlive(bg)
			wg.Go(func() {
				<-kept.Done()
				wants(t, context.Cause(kept), redigolock.ErrLost)
				if early, want := time.Until(k.Deadline()), min(25*time.Millisecond, ttl/20); early != want {
					t.Errorf("ttl %v: the context ended %v before Deadline, not %v", ttl, early, want)
				}
			})
		}
		wg.Wait()
	})
}

func TestLossIsSignalledThoughTheRenewalHangsInADialWithoutContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Server.Dial)
		l := &redigolock.Locker{Pool: dialer.pool(), OpTimeout: shortOp}
		defer l.Close()
		k := r.Must(l.TryAcquire(bg, "key", 2*shortOp))
		dialer.hang()
		kept := k.KeepAlive(bg)
		receive(t, "the context ends", kept.Done())
		wants(t, context.Cause(kept), redigolock.ErrLost)
		if late := time.Since(k.Deadline()); late > 0 {
			t.Errorf("%v after Deadline", late)
		}
		receive(t, "Release returns", inBackground(func() error { return k.Release(bg) }))
	})
}

func TestMaxHoldCountsFromTheAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.MaxHold = time.Hour
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", 2*time.Hour))
		c.Add(time.Hour - 300*time.Millisecond)
		kept := k.KeepAlive(bg) // late: 300 ms before
		if kept.Err() != nil {
			t.Fatalf("MaxHold is not yet reached: %v", context.Cause(kept))
		}
		c.Add(300 * time.Millisecond)
		receive(t, "MaxHold is reached", kept.Done())
		wants(t, context.Cause(kept), redigolock.ErrLost)
		wants(t, context.Cause(k.KeepAlive(bg)), redigolock.ErrLost)
		r.OK(k.Verify(bg)) // it is the holder still
		r.OK(k.Release(bg))
	})
}

func TestMaxHoldEndsALockThatIsRenewedWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.MaxHold = 2500 * time.Millisecond
		start := time.Now()
		k := r.Must(r.Locker.TryAcquire(bg, "key", 2*time.Second))
		kept := k.KeepAlive(bg)
		receive(t, "the context ends", kept.Done())
		wants(t, context.Cause(kept), redigolock.ErrLost)
		if took := time.Since(start); took != r.Locker.MaxHold {
			t.Errorf("it ended after %v: %v", took, context.Cause(kept))
		}
		k.Release(bg)
	})
}

func TestSuspendedMachineLosesItsLocks(t *testing.T) { // the wall clock has gone on, the timers have not
	t.Parallel() // in real time: a bubble's time has no monotonic reading to move
	r := newRig(t)
	c := stopClock(r.Locker)
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Hour))
	kept := k.KeepAlive(bg)
	c.AddWall(t, 2*time.Hour)
	receive(t, "the loss is seen", kept.Done())
	wants(t, context.Cause(kept), redigolock.ErrLost)
	mustNotBeHeld(t, r, k)
}

// What becomes of the renewal that was in flight concerns nobody any more.
func TestNothingIsToldOfARenewalAfterTheLoss(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		t.Run(ttl.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				var mu sync.Mutex // protects told
				var told []string
				note := func(event string) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, event)
				}
				noteVerb := func(_ context.Context, _, verb string, err error) { note(fmt.Sprint(verb, ": ", err)) }
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: time.Minute, Observer: &redigolock.Observer{
					Failed: noteVerb, Unknown: noteVerb,
					Lost: func(context.Context, *redigolock.Lock, error) { note("lost") },
				}})
				k, err := l.TryAcquire(bg, "key", ttl)
				if err != nil {
					t.Fatal(err)
				}
				s.Rule(func(q sim.Request) sim.Action {
					if q.Verb == "extend" {
						return sim.Swallow()
					}
					return sim.Pass()
				})
				k.KeepAlive(bg)
				time.Sleep(2 * ttl)
				mu.Lock()
				defer mu.Unlock()
				if len(told) < 3 || told[len(told)-1] != "lost" {
					t.Errorf("told: %q", told)
				}
			})
		})
	}
}

// A runningClock runs with the bubble, and has the monotonic reading that a bubble's own time lacks.
func runningClock(base time.Time, l *redigolock.Locker) *clock {
	c, start := testbed.NewClock(base), time.Now()
	redigolock.SetClock(l, func() time.Time { return c.Now().Add(time.Since(start)) })
	return c
}

// noRenewals has the renewals hang.
func (r *rig) noRenewals() {
	r.Rule(func(verb string, n int) redistest.Action {
		if verb == "extend" {
			return redistest.Swallow()
		}
		return redistest.Pass()
	})
}

// A machine that was suspended for ten minutes has that much less: the loss is told in time by the wall clock, not only when
// the clocks are compared next.
func TestLossAfterASuspensionIsToldInTimeByTheWallClock(t *testing.T) {
	base := time.Now() // outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := runningClock(base, r.Locker)
		r.noRenewals()
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Hour))
		kept, start := k.KeepAlive(bg), time.Now()
		time.Sleep(100 * time.Millisecond)
		c.AddWall(t, 10*time.Minute)
		<-kept.Done()
		wants(t, context.Cause(kept), redigolock.ErrLost)
		want := validFor(time.Hour) - 10*time.Minute - 25*time.Millisecond
		if got := time.Since(start); got != want {
			t.Errorf("the loss was told after %v, want %v", got, want)
		}
		k.Release(bg)
	})
}

// Once Valid has said no, the work must end, though the wall clock is put back after that.
func TestLossThatValidHasSeenIsToldThoughTheClockIsPutBack(t *testing.T) {
	base := time.Now()
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := runningClock(base, r.Locker)
		r.noRenewals()
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Hour))
		kept := k.KeepAlive(bg)
		time.Sleep(50*time.Minute + 100*time.Millisecond)
		synctest.Wait()
		c.AddWall(t, 2*time.Hour)
		if k.Valid() {
			t.Error("it is valid")
		}
		c.AddWall(t, -2*time.Hour)
		if k.Valid() {
			t.Error("it is valid again")
		}
		time.Sleep(2 * time.Second)
		if kept.Err() == nil {
			t.Error("its context goes on")
		}
		wants(t, context.Cause(kept), redigolock.ErrLost)
		k.Release(bg)
	})
}

// A loss that fn's end finds before the goroutine that is to tell it is told all the same, with its event.
func TestDoTellsALossThatNobodyHasToldYet(t *testing.T) {
	for name, fair := range map[string]bool{"plain": false, "fair": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				lost := 0
				l := &redigolock.Locker{Pool: r.Proxy.Pool(), Fair: fair, Observer: &redigolock.Observer{
					Lost: func(context.Context, *redigolock.Lock, error) { lost++ },
				}}
				t.Cleanup(func() { l.Close() })
				c := stopClock(l)
				var kept context.Context
				err := l.Do(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
					kept = ctx
					c.Add(2 * time.Minute)
					return nil
				})
				wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
				wants(t, context.Cause(kept), redigolock.ErrLost)
				if lost != 1 {
					t.Errorf("Lost was called %d times", lost)
				}
			})
		})
	}
}
