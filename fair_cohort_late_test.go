package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// The next of a cohort has the same token. A Fence that is carried out after the pass gives the old holder no number, for it
// would be higher than that of the new one.
func TestCohortLateFenceOfTheOldHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 3, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.key, fairTestTTL))
		_, err := k.Fence(bg)
		r.OK(err)
		waiter := r.local(fairTestTTL)
		release := make(chan struct{})
		came := r.once("fence", 1, redistest.Late(release))
		late := inBackground(func() error { _, err := k.Fence(bg); return err })
		<-came
		r.OK(k.Release(bg))
		next := r.got("the next", waiter)
		_, err = next.Fence(bg)
		r.OK(err)
		close(release)
		wants(t, receive(t, "the late Fence", late), redigolock.ErrNotHeld)
		r.OK(next.Release(bg))
	})
}

// The lease is extended for the head. If that leaves meanwhile, there is no pass to the one behind, whose ttl is much longer.
func TestCohortHeadLeavesWhileTheLeaseIsExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 3, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		head := waits(ctx, r.Locker, r.key, 4*fairTestTTL)
		eventually(t, "the head waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 1 })
		behind := r.local(100 * fairTestTTL)
		release := make(chan struct{})
		came := r.once("fairextend", 1, redistest.Hold(release))
		released := inBackground(func() error { return k.Release(bg) })
		<-came
		cancel()
		wants(t, receive(t, "the head leaves", head).err, context.Canceled)
		close(release)
		r.OK(receive(t, "Release", released))
		next := r.got("the one behind", behind)
		if left := time.Until(next.Deadline()); left < 30*fairTestTTL {
			t.Errorf("the lock for %v lasts %v", 100*fairTestTTL, left)
		}
		r.OK(next.Release(bg))
		r.gone()
	})
}
