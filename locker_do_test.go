package redigolock_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

var errFn = errors.New("what fn returned")

func TestDoHoldsTheLockWhileFnRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		err := r.Locker.Do(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
			if r.Get("key") != k.Token() {
				t.Error("fn runs without the lock")
			}
			if ctx.Err() != nil || ctx.Done() == nil {
				t.Error("fn's context has ended, or cannot end")
			}
			return nil
		})
		r.OK(err)
		if r.Get("key") != "" {
			t.Error("Do left the lock")
		}
	})
}

func TestDoReturnsALoneErrorOfFnAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		if err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { return errFn }); err != errFn {
			t.Errorf("Do returned %#v", err)
		}
		if r.Get("key") != "" {
			t.Error("Do left the lock")
		}
	})
}

func TestDoRenewsWhileFnRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl = 2 * time.Second
		r.OK(r.Locker.Do(bg, "key", ttl, func(ctx context.Context, k *redigolock.Lock) error {
			first := k.Deadline()
			eventually(t, "fn outlives its ttl, and what one renewal gives", func() bool {
				return time.Since(first) > ttl || ctx.Err() != nil
			})
			return context.Cause(ctx)
		}))
	})
}

func TestDoOfALostLockIsErrLostThoughFnReturnedNil(t *testing.T) {
	for _, fnErr := range []error{nil, errFn} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			err := r.Locker.Do(bg, "key", 1500*time.Millisecond, func(ctx context.Context, k *redigolock.Lock) error {
				r.Do("SET", "key", "another's", "PX", 60000)
				receive(t, "the loss is seen", ctx.Done())
				return fnErr
			})
			wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
			if fnErr != nil {
				wants(t, err, fnErr)
			}
			if r.Get("key") != "another's" {
				t.Error("another's lock was touched")
			}
		})
	}
}

func TestDoOfALockThatOnlyTheReleaseFindsLostIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
			r.Do("DEL", "key")
			return nil
		})
		wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
	})
}

func TestDoThatOutlivesItsLockAfterItsContextEndedIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		ctx, cancel := context.WithCancel(bg)
		err := r.Locker.Do(ctx, "key", time.Minute, func(kept context.Context, k *redigolock.Lock) error {
			cancel() // ends the renewals
			receive(t, "fn's context ends", kept.Done())
			c.Add(2 * time.Minute)
			return nil
		})
		wants(t, err, redigolock.ErrLost)
	})
}

func TestDoWhoseFnReleasesItselfIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		err := r.Locker.Do(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
			err := k.Release(ctx)
			r.Do("SET", "key", "another's", "PX", 60000)
			return err
		})
		r.OK(err)
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent", n)
		}
		if r.Get("key") != "another's" {
			t.Error("another's lock was touched")
		}
	})
}

func TestDoReleasesWhenFnPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		defer func() {
			if p := recover(); p != "fn's panic" {
				t.Errorf("recovered %v", p)
			}
			if r.Get("key") != "" {
				t.Error("a panic left the lock")
			}
		}()
		r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { panic("fn's panic") })
	})
}

func TestDoReleasesWhenFnEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
				runtime.Goexit()
				return nil
			})
		}()
		receive(t, "the goroutine ends", done)
		if r.Get("key") != "" {
			t.Error("Goexit left the lock")
		}
	})
}

func TestDoReleasesThoughItsContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		ctx, cancel := context.WithCancel(bg)
		err := r.Locker.Do(ctx, "key", time.Minute, func(kept context.Context, _ *redigolock.Lock) error {
			cancel()
			receive(t, "fn's context ends", kept.Done())
			return kept.Err()
		})
		if err != context.Canceled {
			t.Errorf("Do returned %v", err)
		}
		if r.Get("key") != "" {
			t.Error("a cancelled request left its lock")
		}
	})
}

func TestDoJoinsEveryError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Plan(map[string][]redistest.Action{"release": {redistest.Drop(), redistest.Drop()}})
		err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { return errFn })
		wants(t, err, errFn, redigolock.ErrUnknown)
		wantsNot(t, err, redigolock.ErrLost)
	})
}

func TestDoReturnsWhyItGotNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "another's", "PX", 60000)
		ctx, cancel := context.WithCancel(bg)
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			cancel()
			return time.Minute
		}
		err := r.Locker.Do(ctx, "key", time.Minute, neverCalled(t))
		wants(t, err, redigolock.ErrHeld, context.Canceled)
	})
}

func TestTryDoRunsWithTheLockAndReleasesIt(t *testing.T) {
	for _, fair := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.Fair = fair
			var lock *redigolock.Lock
			err := r.Locker.TryDo(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
				lock = k
				if !redigolock.Kept(k) || ctx.Err() != nil {
					t.Error("fn runs with a lock that is not kept alive")
				}
				wants(t, r.Locker.TryDo(ctx, "key", time.Minute, neverCalled(t)), redigolock.ErrHeld)
				return k.Verify(ctx)
			})
			r.OK(err)
			wants(t, lock.Verify(bg), redigolock.ErrNotHeld)
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			r.OK(k.Release(bg))
			r.OK(r.Locker.Close())
		})
	}
}

func TestTryDoIsErrHeldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "another's", "PX", 60000)
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			t.Error("TryDo waits")
			return -1
		}
		var held *redigolock.HeldError
		err := r.Locker.TryDo(bg, "key", time.Minute, neverCalled(t))
		if !errors.As(err, &held) {
			t.Errorf("TryDo returned %v", err)
		}
		if n := len(r.Sent("set")); n != 1 {
			t.Errorf("%d tries", n)
		}
	})
}

func TestTryDoReleasesWhateverFnDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		if err := r.Locker.TryDo(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { return errFn }); err != errFn {
			t.Errorf("TryDo returned %#v", err)
		}
		if r.Get("key") != "" {
			t.Error("an error left the lock")
		}
		func() {
			defer func() {
				if p := recover(); p != "fn's panic" {
					t.Errorf("recovered %v", p)
				}
			}()
			r.Locker.TryDo(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { panic("fn's panic") })
		}()
		if r.Get("key") != "" {
			t.Error("a panic left the lock")
		}
		err := r.Locker.TryDo(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
			r.Do("DEL", "key")
			return nil
		})
		wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
	})
}

func TestTryDoOfAnUnknownOutcomeRunsNothingAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		r.Rule(func(verb string, n int) redistest.Action {
			switch verb {
			case "set":
				return redistest.Drop()
			case "extend": // the look at whether it is there
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		err := r.Locker.TryDo(bg, "key", time.Minute, neverCalled(t))
		wants(t, err, redigolock.ErrUnknown)
		eventually(t, "the lost SET was carried out, and is cleaned up", func() bool { return r.Get("key") == "" })
		r.noCleanUp()
		if r.Get("key") != "" {
			t.Error("TryDo left the lock")
		}
	})
}

func TestTryDoChecksBeforeItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Silent("TryDo", func() {
			wants(t, r.Locker.TryDo(bg, "key", time.Minute, nil), redigolock.ErrInvalid)
			wants(t, r.Locker.TryDo(bg, "", time.Minute, neverCalled(t)), redigolock.ErrInvalid)
			wants(t, r.Locker.TryDo(bg, "key", time.Microsecond, neverCalled(t)), redigolock.ErrInvalid)
			var none context.Context
			wants(t, r.Locker.TryDo(none, "key", time.Minute, neverCalled(t)), redigolock.ErrInvalid)
			ctx, cancel := context.WithCancel(bg)
			cancel()
			wants(t, r.Locker.TryDo(ctx, "key", time.Minute, neverCalled(t)), context.Canceled)
		})
	})
}

func TestDoOfMaxHoldIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.MaxHold = 200 * time.Millisecond
		err := r.Locker.Do(bg, "key", time.Minute, func(ctx context.Context, _ *redigolock.Lock) error {
			receive(t, "MaxHold is reached", ctx.Done())
			return nil
		})
		wants(t, err, redigolock.ErrLost)
		wantsNot(t, err, redigolock.ErrNotHeld) // it is still the holder, and releases
		if r.Get("key") != "" {
			t.Error("the lock was left after MaxHold")
		}
	})
}
