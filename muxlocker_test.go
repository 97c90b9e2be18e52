package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestMuxCarriesEveryVerbOfALocker(t *testing.T) {
	for _, way := range acquireWays {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimMuxRig(t, 0)
				r.locker.AcquireWith = way.with
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				for _, ctx := range []context.Context{bg, ctx} {
					r.do("SCRIPT", "FLUSH")
					k := r.must(r.locker.Acquire(ctx, "key", time.Minute))
					r.ok(k.Verify(ctx))
					r.ok(k.Extend(ctx, time.Hour))
					_, err := k.Fence(ctx)
					r.ok(err)
					_, err = r.locker.TryAcquire(ctx, "key", time.Minute)
					wants(t, err, redigolock.ErrHeld)
					again, err := r.locker.Attach(ctx, "key", k.Token(), time.Minute)
					r.ok(err)
					r.ok(again.Release(ctx))
					wants(t, k.Verify(ctx), redigolock.ErrNotHeld)
				}
				if n := r.proxy.Conns(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

func TestMuxManyCallersWithScriptsThatTheServerForgets(t *testing.T) {
	r := newMuxRig(t, 0)
	r.locker.AcquireWith = redigolock.SetNXScript
	var wg sync.WaitGroup
	for w := range 64 {
		spawn(&wg, func() {
			for i := range 20 {
				if w == 0 {
					if _, err := r.server.Do("SCRIPT", "FLUSH"); err != nil {
						t.Error(err)
					}
				}
				k, err := r.locker.TryAcquire(bg, fmt.Sprint(w), time.Minute)
				if err == nil {
					err = k.Release(bg)
				}
				if err != nil {
					t.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestMuxLostReplyIsAdopted(t *testing.T) {
	for _, way := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimMuxRig(t, 0)
			r.locker.AcquireWith, r.locker.OpTimeout = way.with, time.Second
			_, err := r.mux.Get().Do("ECHO", "dialled")
			r.ok(err)
			r.plan(map[string][]redistest.Action{way.verb: {redistest.Drop()}})
			k := r.must(r.locker.Acquire(bg, "key", time.Minute))
			if r.get("key") != k.Token() || len(r.sent(way.verb)) != 2 {
				t.Errorf("%s: the key is %q after %d tries", way.name, r.get("key"), len(r.sent(way.verb)))
			}
			r.ok(k.Release(bg))
		})
	}
}

func TestMuxLostReplyToAReleaseIsAskedForOnAConnectionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
		r.plan(map[string][]redistest.Action{"release": {redistest.Drop()}})
		r.ok(k.Release(bg))
		if r.get("key") != "" {
			t.Error("the key is still there")
		}
	})
}

func TestMuxKeepAliveHasAConnectionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		const ttl = 2 * time.Second
		k := r.must(r.locker.TryAcquire(bg, "key", ttl))
		first := k.Deadline()
		ctx := k.KeepAlive(bg)
		let := r.fill() // the Mux is stuck
		eventually(t, "it is renewed twice", func() bool { return k.Deadline().Sub(first) > ttl*3/4 || ctx.Err() != nil })
		let()
		r.ok(ctx.Err())
		r.ok(k.Release(bg))
		if r.sent("extend")[0].Conn == r.sent("set")[0].Conn {
			t.Error("renewed on the Mux's connection")
		}
		r.ok(r.locker.Close())
		r.ok(r.mux.Close())
		eventually(t, "no connection is left", func() bool { return r.proxy.Conns() == 0 })
	})
}

func TestMuxDoGuardsItsFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 2)
		inside, n := 0, 0
		var wg sync.WaitGroup
		for range 16 {
			spawn(&wg, func() {
				err := r.locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
					if inside++; inside != 1 {
						t.Error("two inside")
					}
					n++
					inside--
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n != 16 || r.get("key") != "" {
			t.Errorf("%d times, and the key is %q", n, r.get("key"))
		}
	})
}

// pipelinedAcquire is an AcquireFunc of a user's own that uses Send, Flush and Receive.
func pipelinedAcquire(_ context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	if err := errors.Join(c.Send("SET", key, token, "NX", "PX", ttl.Milliseconds()), c.Send("GET", key), c.Flush()); err != nil {
		return err
	}
	if _, err := c.Receive(); err != nil {
		return err
	}
	if got, err := redis.String(c.Receive()); err != nil || got == token {
		return err
	}
	return &redigolock.HeldError{Key: key}
}

func TestMuxBoundsAnAcquireFuncWithAPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		r.locker.AcquireWith, r.locker.OpTimeout = pipelinedAcquire, shortOp
		k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
		_, err := r.locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		r.ok(k.Release(bg))
		r.plan(map[string][]redistest.Action{"set": {redistest.Late(nil)}, "get": {redistest.Late(nil), redistest.Late(nil)}})
		start := time.Now()
		_, err = r.locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestMuxOpTimeoutBoundsTheWaitInTheQueueAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		let := r.fill()
		r.locker.OpTimeout = 30 * time.Millisecond
		_, err := r.locker.TryAcquire(bg, "key", time.Minute)
		wantsNot(t, err, redigolock.ErrUnknown, context.DeadlineExceeded)
		if err == nil || !redigolock.Transient(err) {
			t.Error(err)
		}
		let()
		if n := len(r.sent("set")); n > 0 {
			t.Errorf("%d SETs were sent", n)
		}
	})
}

func TestMuxStoppedServerIsUnknownForEachWithinOpTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		r.locker.OpTimeout = shortOp
		k := r.must(r.locker.TryAcquire(bg, "warm", time.Minute))
		r.server.Pause()
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			spawn(&wg, func() {
				_, err := r.locker.TryAcquire(bg, fmt.Sprint(i), time.Minute)
				if err == nil || !redigolock.Transient(err) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		r.server.Resume()
		r.ok(k.Release(bg))
		r.noCleanUp()
	})
}
