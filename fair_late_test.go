package redigolock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// fairAcquires are the two ways to send a TRY.
var fairAcquires = map[string]func(*redigolock.Locker, context.Context, string) error{
	"TryAcquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
		_, err := l.TryAcquire(ctx, key, time.Minute)
		return err
	},
	"Acquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
		_, err := l.Acquire(ctx, key, time.Minute)
		return err
	},
}

// A TRY that is carried out after its clean-up was confirmed has left a lock to nobody. Who asks next finds it, and frees it.
func TestFairTryCarriedOutAfterItsCleanUp(t *testing.T) {
	for name, acquire := range fairAcquires {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = shortOp
				release := make(chan struct{})
				came := r.once("try", 1, redistest.Late(release))
				ctx, cancel := context.WithCancel(bg)
				gaveUp := inBackground(func() error { return acquire(r.Locker, ctx, r.key) })
				receive(t, "it is sent", came)
				cancel()
				wants(t, receive(t, "it gives up", gaveUp), context.Canceled, redigolock.ErrUnknown)
				eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(r.Locker) })
				close(release)
				eventually(t, "it is carried out", func() bool { return r.Get(r.key) != "" })
				eventually(t, "the next gets it, with the same verb", func() bool { return acquire(r.Locker, bg, r.key) == nil })
			})
		})
	}
}

// The clean-up of a lost TRY neither waits for a connection of the pool nor gets a broken one: it dials its own.
func TestFairCleanUpOfALostTryDials(t *testing.T) {
	for name, acquire := range fairAcquires {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				pool := r.Proxy.Pool()
				l := r.fair(pool)
				l.OpTimeout = shortOp
				pooled := r.idle(pool, 4)
				came := r.once("try", 1, redistest.Swallow())
				ctx, cancel := context.WithCancel(bg)
				gaveUp := inBackground(func() error { return acquire(l, ctx, r.key) })
				<-came
				cancel()
				wants(t, receive(t, "it gives up", gaveUp), context.Canceled, redigolock.ErrUnknown)
				eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(l) })
				if !pooled[r.Sent("try")[0].Conn] {
					t.Error("TRY was not sent on a connection of the pool")
				}
				for _, q := range r.Sent("rel") {
					if pooled[q.Conn] {
						t.Error("REL was sent on a connection of the pool")
					}
				}
			})
		})
	}
}

// So does that of a TRY which the server has not seen, when Acquire goes on with another token.
func TestFairCleanUpOfATryThatIsGoneDials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		pool := r.Proxy.Pool()
		l := r.fair(pool)
		l.OpTimeout = shortOp
		pooled := r.idle(pool, 4)
		r.once("try", 1, redistest.Cut())
		k := r.Must(l.Acquire(bg, r.key, time.Minute))
		eventually(t, "the lost token is released", func() bool { return len(r.Sent("rel")) > 0 && !redigolock.FairOwes(l) })
		for _, q := range r.Sent("rel") {
			if pooled[q.Conn] {
				t.Error("REL was sent on a connection of the pool")
			}
		}
		r.OK(k.Release(bg))
		r.gone()
	})
}

// idle makes idle connections in the pool, and returns their numbers.
func (r *fairRig) idle(pool *redis.Pool, n int) map[int]bool {
	r.T.Helper()
	numbers := map[int]bool{}
	for range n {
		c := pool.Get()
		defer c.Close()
		_, err := c.Do("ECHO", "idle")
		r.OK(err)
	}
	for _, q := range r.Sent("echo") {
		numbers[q.Conn] = true
	}
	return numbers
}

// What is retried in the background with long pauses is retried soon when somebody comes who waits for it.
func TestFairComerDoesNotWaitForALongPause(t *testing.T) {
	const failures = 10 // the pause after them is 5 s
	for _, verb := range []string{"quit", "rel"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				var away atomic.Bool
				away.Store(true)
				r.Rule(func(v string, n int) redistest.Action {
					if v == verb && away.Load() {
						return redistest.Cut()
					}
					return redistest.Pass()
				})
				if verb == "quit" {
					k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
					ctx, cancel := context.WithCancel(bg)
					waiter := waits(ctx, r.Locker, r.key, time.Minute)
					r.queued(1)
					cancel()
					wants(t, receive(t, "it gives up", waiter).err, context.Canceled)
					r.OK(k.Release(bg))
				} else {
					k := r.Must(r.Locker.Acquire(bg, r.key, time.Minute))
					wants(t, k.Release(bg), redigolock.ErrUnknown)
				}
				eventually(t, "the pauses are long", func() bool { return len(r.Sent(verb)) >= failures })
				away.Store(false)
				begin := time.Now()
				r.OK(r.got("who came", waits(bg, r.Locker, r.key, time.Minute)).Release(bg))
				if took := time.Since(begin); took > 2500*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				r.gone()
			})
		})
	}
}

// A machine that was suspended while it waited finds a message whose time is over by the wall clock only: POKE refreshes it.
func TestFairMessageAfterASuspend(t *testing.T) {
	r := newFairRig(t)
	clock := stopClock(r.Locker)
	k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, r.Locker, r.key, fairTestTTL)
	r.queued(1)
	clock.AddWall(t, 2*fairTestTTL)
	r.OK(k.Release(bg))
	a := receive(t, "the waiter", waiter)
	r.OK(a.err)
	r.OK(a.k.Verify(bg))
	r.OK(a.k.Release(bg))
	r.gone()
}

// A queue of another type has REL refused before it deletes anything: the lock is released when the queue is mended.
func TestFairReleaseThatWasRefusedForTheQueueIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.key, time.Minute))
		r.Do("SET", r.queue, "no list")
		wants(t, k.Release(bg), redigolock.ErrConflict)
		r.Do("DEL", r.queue)
		r.gone()
	})
}
