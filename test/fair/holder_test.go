package fair

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A lock that its local holder keeps for ever is lost at its Deadline, and the next local waiter gets it.
func TestFairLocalHolderThatNeverReleases(t *testing.T) {
	const ttl = time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		lostKey := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		k := r.Got("the waiter", waits(bg, r.Locker, r.Key, fairTestTTL))
		if now := time.Now(); now.Before(lostKey.Deadline()) {
			t.Errorf("two hold the lock")
		}
		behind := waits(bg, r.Locker, r.Key, fairTestTTL)
		synctest.Wait()                                      // it waits
		wants(t, lostKey.Release(bg), redigolock.ErrNotHeld) // comes late, and must not take anybody along
		r.Valid(k)
		if n := len(r.Entries()); n != 0 {
			t.Errorf("%d entries were queued by the late release", n)
		}
		r.OK(k.Release(bg))
		r.OK(r.Got("the one behind", behind).Release(bg))
		r.Gone()
	})
}

// The lock of a holder that is found to be lost before its Deadline goes to the next local waiter.
func TestFairLocalHolderThatIsFoundLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, time.Hour))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		synctest.Wait() // it waits
		r.Do("DEL", r.Key)
		wants(t, k.Verify(bg), redigolock.ErrNotHeld)
		r.OK(r.Got("the waiter", waiter).Release(bg))
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		r.Gone()
	})
}

// The lock of a holder that died goes on when its TTL is over, at the latest one poke later.
func TestFairHolderThatDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("SET", r.Key, "of a dead process", "PX", 400)
		begin := time.Now()
		k := r.Got("the waiter", waits(bg, r.Locker, r.Key, fairTestTTL))
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
	})
}

// Foreign clients exclude, and are excluded; when they release by DEL, which hands nothing over, the queue goes on at the next
// poke.
func TestFairForeignClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		plain := &redigolock.Locker{Pool: r.Server.Pool()}
		defer plain.Close()
		k := r.Must(plain.Acquire(bg, r.Key, time.Minute))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.Valid(k)
		r.OK(k.Release(bg))
		begin := time.Now()
		k = r.Got("the waiter", waiter)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v after a plain Locker's release", took)
		}
		_, err := plain.TryAcquire(bg, r.Key, time.Minute)
		wants(t, err, redigolock.ErrHeld)
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// A foreign string without TTL would be waited for for ever.
func TestFairConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		for name, set := range map[string][]any{
			"a string without TTL": {"SET", r.Key, "x"},
			"another type":         {"RPUSH", r.Key, "x"},
			"a queue of no list":   {"SET", r.Queue, "x"},
		} {
			r.Do(set[0].(string), set[1:]...)
			_, err := r.Locker.Acquire(bg, r.Key, fairTestTTL)
			wants(t, err, redigolock.ErrConflict)
			_, err = r.Locker.TryAcquire(bg, r.Key, fairTestTTL)
			wants(t, err, redigolock.ErrConflict)
			if t.Failed() {
				t.Fatal(name)
			}
			r.Do("DEL", r.Key, r.Queue)
		}
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.Do("PERSIST", r.Key)
		wants(t, receive(t, "the waiter returns", waiter).Err, redigolock.ErrConflict)
		r.Queued(0)
		wants(t, k.Verify(bg), redigolock.ErrConflict)
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// A key is released by REL, which may be lost twice; the handle says what it knows, and the lock does not stay behind.
func TestFairReleaseIsRepeated(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint(n, " lost"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				k := r.Must(r.Locker.Acquire(bg, r.Key, time.Hour))
				waiter := waits(bg, r.Other(), r.Key, fairTestTTL)
				r.Queued(1)
				r.Rule(func(verb string, seen int) redistest.Action {
					if verb == "rel" && seen <= n {
						return redistest.Cut()
					}
					return redistest.Pass()
				})
				err := k.Release(bg)
				if n == 1 && err != nil {
					t.Errorf("%v, want nil", err)
				} else if n > 1 {
					wants(t, err, redigolock.ErrUnknown)
				}
				r.OK(r.Got("the waiter", waiter).Release(bg))
				r.Gone()
			})
		})
	}
}

// A release takes nobody along whom no message could reach.
func TestFairReleaseTakesNobodyAlongWithoutSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		r.Proxy.Refuse(true)
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		synctest.Wait() // it waits
		r.OK(k.Release(bg))
		for _, q := range r.Sent("rel") {
			if len(q.Args) != 6 {
				t.Errorf("%q was sent", q.Args)
			}
		}
		r.Proxy.Refuse(false)
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.Gone()
	})
}

// A holder that slept past its Deadline, whose Locker waits in the queue meanwhile, does not queue it a second time.
func TestFairLateReleaseBehindAQueuedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, time.Second))
		r.Do("SET", r.Key, "foreign", "PX", 60000)
		a, b := waits(bg, r.Locker, r.Key, fairTestTTL), waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		if n := len(r.Entries()); n != 1 {
			t.Errorf("%d entries", n)
		}
		r.Do("DEL", r.Key)
		for range 2 {
			select {
			case x := <-a:
				r.OK(x.Err)
				r.OK(x.K.Release(bg))
			case x := <-b:
				r.OK(x.Err)
				r.OK(x.K.Release(bg))
			case <-time.After(10 * time.Second):
				t.Fatal("nobody gets the lock")
			}
		}
		r.Gone()
	})
}

// A Locker that is granted a lock anew, since somebody has deleted it, knows that the holder before has lost it.
func TestFairNewHolderEndsTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, time.Hour))
		kept := k.KeepAlive(bg)
		r.Do("DEL", r.Key)
		next := r.Must(r.Locker.TryAcquire(bg, r.Key, fairTestTTL))
		receive(t, "the context ends", kept.Done())
		wants(t, context.Cause(kept), redigolock.ErrLost)
		r.Silent("a handle that has lost its lock", func() {
			for _, use := range lockUses() {
				wants(t, use(bg, k), redigolock.ErrNotHeld)
			}
		})
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		r.Valid(next)
		r.OK(next.Release(bg))
		r.Gone()
	})
}

// A Release that finds a foreign string without TTL says so: the key will not become free by itself.
func TestFairReleaseFindsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		r.Do("SET", r.Key, "foreign")
		wants(t, k.Release(bg), redigolock.ErrConflict)
		if token := r.Get(r.Key); token != "foreign" {
			t.Errorf("the key has %q", token)
		}
	})
}

// An heir's POKE may have raised the lock's TTL above what the entry asks for. If the heir has left when it is answered, the
// release is repeated for as long as the server may keep the lock, not for the ttl of the entry only.
func TestFairReleaseOfAnHeirsGrantIsRepeatedForTheHeirsTTL(t *testing.T) {
	t.Parallel()
	const first, heir = time.Second, time.Minute
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
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
		eventually(t, "the heir's POKE is carried out", func() bool { return r.PTTL(r.Key) > first })
		wants(t, leave(), context.Canceled)
		close(answer)
		r.Gone()
	})
}

// The same of a lock that was extended beyond the ttl that it was acquired for.
func TestFairReleaseOfAnExtendedLockIsRepeatedForThatTTL(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		r.OK(k.Extend(bg, time.Minute))
		rel := cutUntil(ttl + r.Locker.OpTimeout)
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb == "rel" {
				return rel()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		r.Gone()
	})
}

// inherited has a waiter with one ttl give up, and another inherit its entry, who is gone when the func returns.
func (r *fairRig) inherited(first, heir time.Duration) (leave func() error) {
	r.T.Helper()
	ctx, cancel := context.WithCancel(bg)
	giving := waits(ctx, r.Locker, r.Key, first)
	r.Queued(1)
	heirCtx, cancelHeir := context.WithCancel(bg)
	inheriting := waits(heirCtx, r.Locker, r.Key, heir)
	synctest.Wait() // the heir waits
	cancel()
	wants(r.T, receive(r.T, "the first gives up", giving).Err, context.Canceled)
	return func() error {
		cancelHeir()
		return receive(r.T, "the heir gives up", inheriting).Err
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
