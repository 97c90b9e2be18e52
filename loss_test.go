package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

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
