package redigolock_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

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

// What counts is when the context ends, compared with Deadline. A control timer of the test's own, set for a little
// after the moment at which the library must set its own, tells whether the machine could keep time at all.
func TestHungServerEndsKeepAliveNoLaterThanDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const locks = 32
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "extend" {
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		results := make(chan endOfKeeping, locks)
		for i := range locks { // each ends at a moment of its own
			ttl := time.Second + time.Duration(i)*50*time.Millisecond
			k := r.Must(r.Locker.TryAcquire(bg, fmt.Sprint(i), ttl))
			go func() { results <- watchKeeping(k, ttl) }()
		}
		judged, late := 0, 0
		for range locks {
			x := receive(t, "all contexts end", results)
			wants(t, x.cause, redigolock.ErrLost)
			if x.early > x.ttl/4 {
				t.Errorf("the context ended %v before Deadline, with a ttl of %v", x.early, x.ttl)
			}
			if !x.onTime {
				continue
			}
			judged++
			if x.early < 0 {
				late++
				t.Logf("the context ended %v after Deadline", -x.early)
			}
		}
		switch {
		case judged == 0:
			t.Skip("the machine was too busy to judge timers")
		case late*8 > judged: // a busy machine may stop right between the two timers, but not that often
			t.Errorf("%d of %d contexts ended after Deadline", late, judged)
		}
	})
}

// endOfKeeping is how a KeepAlive context ended.
type endOfKeeping struct {
	ttl    time.Duration
	cause  error
	early  time.Duration // before Deadline
	onTime bool          // the control timer could keep time
}

func watchKeeping(k *redigolock.Lock, ttl time.Duration) endOfKeeping {
	kept := k.KeepAlive(bg)
	deadline := k.Deadline()
	control := make(chan time.Time, 1)
	time.AfterFunc(time.Until(deadline)-20*time.Millisecond, func() { control <- time.Now() })
	<-kept.Done()
	ended := time.Now()
	onTime := (<-control).Before(deadline.Add(-5 * time.Millisecond))
	return endOfKeeping{ttl, context.Cause(kept), deadline.Sub(ended), onTime}
}

func TestLossIsSignalledThoughTheRenewalHangsInADialWithoutContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Server.Dial)
		l := &redigolock.Locker{Pool: dialer.pool(), OpTimeout: shortOp}
		k := r.Must(l.TryAcquire(bg, "key", 2*shortOp))
		dialer.hang()
		kept := k.KeepAlive(bg)
		receive(t, "the context ends", kept.Done())
		wants(t, context.Cause(kept), redigolock.ErrLost)
		if late := time.Since(k.Deadline()); late > 5*time.Second {
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
		if took := time.Since(start); took < r.Locker.MaxHold {
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
