package redigolock_test

import (
	"context"
	"io"
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
			l.OpTimeout = 50 * time.Millisecond
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
