package mux

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
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestMuxCarriesEveryVerbOfALocker(t *testing.T) {
	for _, way := range acquireWays {
		t.Run(way.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimMuxRig(t, 0)
				r.Locker.AcquireWith = way.With
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				for _, ctx := range []context.Context{bg, ctx} {
					r.Do("SCRIPT", "FLUSH")
					k := r.Must(r.Locker.Acquire(ctx, "key", time.Minute))
					r.OK(k.Verify(ctx))
					r.OK(k.Extend(ctx, time.Hour))
					_, err := k.Fence(ctx)
					r.OK(err)
					_, err = r.Locker.TryAcquire(ctx, "key", time.Minute)
					wants(t, err, redigolock.ErrHeld)
					again, err := r.Locker.Attach(ctx, "key", k.Token(), time.Minute)
					r.OK(err)
					r.OK(again.Release(ctx))
					wants(t, k.Verify(ctx), redigolock.ErrNotHeld)
				}
				if n := r.Proxy.Conns(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

func TestMuxManyCallersWithScriptsThatTheServerForgets(t *testing.T) {
	r := newMuxRig(t, 0)
	r.Locker.AcquireWith = redigolock.SetNXScript
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := range 20 {
				if w == 0 {
					if _, err := r.Server.Do("SCRIPT", "FLUSH"); err != nil {
						t.Error(err)
					}
				}
				k, err := r.Locker.TryAcquire(bg, fmt.Sprint(w), time.Minute)
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
			r.Locker.AcquireWith, r.Locker.OpTimeout = way.With, time.Second
			learns(t, r.Locker)
			before := len(r.Sent(way.Verb))
			r.Plan(map[string][]redistest.Action{way.Verb: {redistest.Drop()}})
			k := r.Must(r.Locker.Acquire(bg, "key", time.Minute))
			if tries := len(r.Sent(way.Verb)) - before; r.Get("key") != k.Token() || tries != 2 {
				t.Errorf("%s: the key is %q after %d tries", way.Name, r.Get("key"), tries)
			}
			r.OK(k.Release(bg))
		})
	}
}

func TestMuxLostReplyToAReleaseIsAskedForOnAConnectionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Plan(map[string][]redistest.Action{"release": {redistest.Drop()}})
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("the key is still there")
		}
	})
}

func TestMuxKeepAliveHasAConnectionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		const ttl = 2 * time.Second
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		first := k.Deadline()
		ctx := k.KeepAlive(bg)
		let := r.fill() // the Mux is stuck
		eventually(t, "it is renewed twice", func() bool { return k.Deadline().Sub(first) > ttl*3/4 || ctx.Err() != nil })
		let()
		r.OK(ctx.Err())
		r.OK(k.Release(bg))
		if r.Sent("extend")[0].Conn == r.Sent("set")[0].Conn {
			t.Error("renewed on the Mux's connection")
		}
		r.OK(r.Locker.Close())
		r.OK(r.mux.Close())
		eventually(t, "no connection is left", func() bool { return r.Proxy.Conns() == 0 })
	})
}

func TestMuxDoGuardsItsFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 2)
		inside, n := 0, 0
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
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
		if n != 16 || r.Get("key") != "" {
			t.Errorf("%d times, and the key is %q", n, r.Get("key"))
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
		r.Locker.AcquireWith, r.Locker.OpTimeout = pipelinedAcquire, shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		r.OK(k.Release(bg))
		r.Plan(map[string][]redistest.Action{"set": {redistest.Late(nil)}, "get": {redistest.Late(nil), redistest.Late(nil)}})
		start := time.Now()
		_, err = r.Locker.TryAcquire(bg, "key", time.Minute)
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
		r.Locker.OpTimeout = 30 * time.Millisecond
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wantsNot(t, err, redigolock.ErrUnknown, context.DeadlineExceeded)
		if err == nil || !fault.Transient(err) {
			t.Error(err)
		}
		let()
		if n := len(r.Sent("set")); n > 0 {
			t.Errorf("%d SETs were sent", n)
		}
	})
}

func TestMuxStoppedServerIsUnknownForEachWithinOpTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "warm", time.Minute))
		r.Server.Pause()
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				_, err := r.Locker.TryAcquire(bg, fmt.Sprint(i), time.Minute)
				if err == nil || !fault.Transient(err) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		r.Server.Resume()
		r.OK(k.Release(bg))
		eventually(t, "the clean-up ends", func() bool { return r.Locker.Stats().Owed == 0 })
	})
}
