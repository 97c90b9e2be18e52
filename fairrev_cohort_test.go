package redigolock_test

import (
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// The next of a cohort has the same token. A Fence that is carried out after the pass gives the old holder no number, for it
// would be higher than that of the new one.
func TestCohortLateFenceOfTheOldHolder(t *testing.T) {
	r := newCohortRig(t, 3, time.Hour)
	k := r.must(r.locker.Acquire(bg, r.key, fairTestTTL))
	_, err := k.Fence(bg)
	r.ok(err)
	waiter := r.local(fairTestTTL)
	release := make(chan struct{})
	came := r.once("fence", 1, redistest.Late(release))
	late := inBackground(func() error { _, err := k.Fence(bg); return err })
	<-came
	r.ok(k.Release(bg))
	next := r.got("the next", waiter)
	_, err = next.Fence(bg)
	r.ok(err)
	close(release)
	wants(t, receive(t, "the late Fence", late), redigolock.ErrNotHeld)
	r.ok(next.Release(bg))
}
