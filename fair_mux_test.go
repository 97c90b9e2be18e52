package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// Over a Mux a fair Locker does what it does over a pool: it serves many, survives a connection that breaks under all of
// them, and leaves nothing.
func TestFairOverAMux(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.wrap = func(p *redis.Pool) redigolock.Pool { return muxOver(t, p) }
		r.contend(3, 24, 100*time.Millisecond)
		r.gone()

		l := r.fair(muxOver(t, r.Proxy.Pool()))
		l.OpTimeout = shortOp
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		r.once("enter", 1, redistest.Drop())
		waiter := waits(bg, l, r.key, fairTestTTL)
		r.queued(1)
		behind := waits(bg, l, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.key) == 2 })
		r.OK(k.Release(bg))
		k = r.got("the waiter", waiter)
		r.once("rel", 1, redistest.Drop())
		r.OK(k.Release(bg))
		r.OK(r.got("the one behind", behind).Release(bg))
		r.gone()
		r.oncePerToken()
	})
}

func muxOver(t *testing.T, p *redis.Pool) *redigolock.Mux {
	m := &redigolock.Mux{Pool: p}
	t.Cleanup(func() { m.Close() })
	return m
}

// After an outcome that is unknown the next command does not take its chance with another connection of the pool, which may be
// broken as well: it dials.
func TestFairUnknownOutcomeIsAskedForOnANewConnection(t *testing.T) {
	for lost, next := range map[string]string{"try": "poke", "enter": "poke", "rel": "rel", "quit": "quit"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				pool := r.Proxy.Pool()
				l := r.fair(pool)
				pooled := r.idle(pool, 6)
				came := r.once(lost, 1, redistest.Drop())
				r.sends(l, lost)
				<-came
				n := 1
				if next != lost {
					n = 0
				}
				eventually(t, "it asks", func() bool { return len(r.Sent(next)) > n })
				if !pooled[r.Sent(lost)[0].Conn] {
					t.Errorf("%s was not sent on a connection of the pool", lost)
				}
				if pooled[r.Sent(next)[n].Conn] {
					t.Errorf("%s was sent on a connection of the pool", next)
				}
			})
		})
	}
}

// sends has a Locker send the verb.
func (r *fairRig) sends(l *redigolock.Locker, verb string) {
	r.T.Helper()
	if verb == "try" || verb == "rel" {
		r.OK(r.Must(l.Acquire(bg, r.key, fairTestTTL)).Release(bg))
		return
	}
	k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	waiter := waits(ctx, l, r.key, fairTestTTL)
	eventually(r.T, "it is queued", func() bool { return redigolock.Placed(l, r.key) })
	cancel()
	wants(r.T, receive(r.T, "it gives up", waiter).err, context.Canceled)
	r.queued(0)
	r.OK(k.Release(bg))
}
