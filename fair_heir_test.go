package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// An heir's POKE may have raised the lock's TTL above what the entry asks for. If the heir has left when it is answered, the
// release is repeated for as long as the server may keep the lock, not for the ttl of the entry only.
func TestFairReleaseOfAnHeirsGrantIsRepeatedForTheHeirsTTL(t *testing.T) {
	t.Parallel()
	const first, heir = time.Second, time.Minute
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		leave := r.inherited(first, heir)

		answer := make(chan struct{})
		rel := cutUntil(first + r.Locker.OpTimeout)
		r.Rule(func(verb string, _ int) redistest.Action {
			switch verb {
			case "poke":
				return redistest.Hold(answer)
			case "rel":
				return rel()
			}
			return redistest.Pass()
		})
		r.OK(k.Release(bg))
		eventually(t, "the heir's POKE is carried out", func() bool { return r.PTTL(r.key) > first })
		wants(t, leave(), context.Canceled)
		close(answer)
		r.gone()
	})
}

// The same of a lock that was extended beyond the ttl that it was acquired for.
func TestFairReleaseOfAnExtendedLockIsRepeatedForThatTTL(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.Acquire(bg, r.key, ttl))
		r.OK(k.Extend(bg, time.Minute))
		rel := cutUntil(ttl + r.Locker.OpTimeout)
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb == "rel" {
				return rel()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		r.gone()
	})
}

// inherited has a waiter with one ttl give up, and another inherit its entry, who is gone when the func returns.
func (r *fairRig) inherited(first, heir time.Duration) (leave func() error) {
	r.T.Helper()
	ctx, cancel := context.WithCancel(bg)
	giving := waits(ctx, r.Locker, r.key, first)
	r.queued(1)
	heirCtx, cancelHeir := context.WithCancel(bg)
	inheriting := waits(heirCtx, r.Locker, r.key, heir)
	eventually(r.T, "the heir waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 2 })
	cancel()
	wants(r.T, receive(r.T, "the first gives up", giving).err, context.Canceled)
	return func() error {
		cancelHeir()
		return receive(r.T, "the heir gives up", inheriting).err
	}
}

// cutUntil cuts all requests that come within d of the first, and the next one.
func cutUntil(d time.Duration) func() redistest.Action {
	var first time.Time
	over := false
	return func() redistest.Action {
		switch {
		case over:
			return redistest.Pass()
		case first.IsZero():
			first = time.Now()
		default:
			over = time.Since(first) > d
		}
		return redistest.Cut()
	}
}
