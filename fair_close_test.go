package redigolock_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// Close does not wait for a connection that cannot be had for ever. What turns out only after it that it may have got a lock
// is released all the same, by one try.
func TestFairOutcomeThatIsUnknownAfterCloseIsReleased(t *testing.T) {
	for _, x := range []struct {
		name    string
		acquire func(*redigolock.Locker, context.Context, string, time.Duration) (*redigolock.Lock, error)
		dials   int
	}{
		{"TryAcquire", (*redigolock.Locker).TryAcquire, 1},
		{"Acquire", (*redigolock.Locker).Acquire, 2}, // the other is its subscription
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := newFairRig(t)
			dialling, dialled := make(chan struct{}), make(chan struct{})
			pool := &splitPool{Pool: r.proxy.Pool()}
			pool.dial = func(...redis.DialOption) (redis.Conn, error) {
				select {
				case <-dialled:
					return pool.Pool.Dial()
				case dialling <- struct{}{}:
				}
				<-dialled
				return nil, io.EOF
			}
			l := r.fair(pool)
			l.OpTimeout = shortOp
			r.once("try", 1, redistest.Drop())
			ended := inBackground(func() error {
				_, err := x.acquire(l, bg, r.key, time.Minute)
				return err
			})
			for range x.dials {
				receive(t, "it asks again on a connection of its own", dialling)
			}
			r.ok(l.Close())
			if r.get(r.key) == "" {
				t.Error("it was released before the outcome was known")
			}
			close(dialled)
			wants(t, receive(t, "it ends", ended), redigolock.ErrUnknown)
			r.gone()
		})
	}
}

// What is retried in the background with long pauses is retried with short ones while Close waits: the server may be
// back. If it is not, Close gives it up, and leaves nothing behind.
func TestFairCloseEndsLongPauses(t *testing.T) {
	const failures = 10 // the pause after them is 5 s, and Close waits for 3 OpTimeouts
	for name, back := range map[string]bool{"the server is back": true, "the server is away": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFairRig(t)
			r.locker.OpTimeout = time.Second
			var away atomic.Bool
			away.Store(true)
			r.rule(func(verb string, _ int) redistest.Action {
				if verb == "rel" && away.Load() {
					return redistest.Cut()
				}
				return redistest.Pass()
			})
			k := r.must(r.locker.Acquire(bg, r.key, time.Minute))
			wants(t, k.Release(bg), redigolock.ErrUnknown)
			eventually(t, "the pauses are long", func() bool { return len(r.sent("rel")) >= failures })
			before := len(r.sent("rel"))
			away.Store(!back)
			r.ok(r.locker.Close())
			if n := len(r.sent("rel")) - before; n == 0 || !back && n < 3 {
				t.Errorf("it was tried %d times while Close waited", n)
			}
			if released := r.get(r.key) == ""; released != back {
				t.Errorf("it is released: %v, want %v", released, back)
			}
			if !back {
				// One that was sent just before Close returned may not be answered yet.
				eventually(t, "its slot goes", func() bool { return redigolock.FairSlots(r.locker) == 0 })
			}
		})
	}
}
