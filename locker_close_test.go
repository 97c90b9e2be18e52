package redigolock_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestAttachTakesItsDeadlineFromTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "token", "PX", 20000)
		before := time.Now()
		k := r.Must(r.Locker.Attach(bg, "key", "token", time.Hour))
		if left := k.Deadline().Sub(before); left > validFor(20*time.Second)+time.Since(before) || left < 10*time.Second {
			t.Errorf("20 s were left, and Deadline is in %v", left)
		}
		if k.Token() != "token" || k.Key() != "key" {
			t.Errorf("key %q, token %q", k.Key(), k.Token())
		}
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("the attached lock is still there")
		}
	})
}

func TestAttachCountsFromBeforeTheSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		start := c.Now()
		r.Do("SET", "key", "token", "PX", 20000)
		r.Rule(func(string, int) redistest.Action {
			c.Add(5 * time.Second) // the request is on its way for so long
			return redistest.Pass()
		})
		k := r.Must(r.Locker.Attach(bg, "key", "token", time.Hour))
		if d := k.Deadline().Sub(start); d > validFor(20*time.Second) {
			t.Errorf("Deadline is %v after the call, at most %v are good", d, validFor(20*time.Second))
		}
	})
}

func TestAttachVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		attach := func(want ...error) {
			t.Helper()
			_, err := r.Locker.Attach(bg, "key", "token", time.Minute)
			wants(t, err, want...)
		}
		attach(redigolock.ErrNotHeld)
		r.Do("SET", "key", "token2", "PX", 60000) // ours is a prefix of it
		attach(redigolock.ErrNotHeld)
		r.Do("SET", "key", "token")
		attach(redigolock.ErrConflict)
		r.Do("DEL", "key")
		r.Do("RPUSH", "key", "token")
		attach(redigolock.ErrConflict)
		r.Do("DEL", "key")
		r.Do("SET", "key", "token", "PX", 60000)
		r.Rule(func(string, int) redistest.Action {
			c.Add(time.Minute)
			return redistest.Pass()
		})
		attach(redigolock.ErrNotHeld) // too little is left when the answer comes
		r.Proxy.Rule(nil)
		r.Plan(map[string][]redistest.Action{"verify": {redistest.Drop(), redistest.Drop()}})
		attach(redigolock.ErrUnknown)
	})
}

func TestUseAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.OK(r.Locker.Close())
		r.OK(r.Locker.Close())
		r.Silent("a closed Locker", func() {
			_, err := r.Locker.TryAcquire(bg, "other", time.Minute)
			wants(t, err, redigolock.ErrClosed)
			_, err = r.Locker.Acquire(bg, "other", time.Minute)
			wants(t, err, redigolock.ErrClosed)
			_, err = r.Locker.Attach(bg, "key", k.Token(), time.Minute)
			wants(t, err, redigolock.ErrClosed)
			wants(t, r.Locker.Do(bg, "other", time.Minute, neverCalled(t)), redigolock.ErrClosed)
			wants(t, context.Cause(k.KeepAlive(bg)), redigolock.ErrClosed)
		})
		if r.Get("key") != k.Token() {
			t.Error("Close released a lock that is held")
		}
		r.OK(k.Verify(bg))
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("Release after Close left the key")
		}
	})
}

func neverCalled(t *testing.T) func(context.Context, *redigolock.Lock) error {
	return func(context.Context, *redigolock.Lock) error {
		t.Error("fn was called")
		return nil
	}
}

func TestCloseEndsWaitersAndKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		waiting := make(chan struct{})
		var once sync.Once
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			once.Do(func() { close(waiting) })
			return time.Hour
		}
		var locks []*redigolock.Lock
		var kept []context.Context
		for _, key := range []string{"a", "b", "c"} {
			k := r.Must(r.Locker.TryAcquire(bg, key, time.Minute))
			locks, kept = append(locks, k), append(kept, k.KeepAlive(bg))
		}
		waiter := inBackground(func() error {
			_, err := r.Locker.Acquire(bg, "a", time.Minute)
			return err
		})
		receive(t, "the waiter waits", waiting)
		r.OK(r.Locker.Close())
		wants(t, receive(t, "the waiter ends", waiter), redigolock.ErrClosed, redigolock.ErrHeld)
		for _, ctx := range kept {
			receive(t, "KeepAlive ends", ctx.Done())
			wants(t, context.Cause(ctx), redigolock.ErrClosed)
			wantsNot(t, context.Cause(ctx), redigolock.ErrLost)
		}
		for _, k := range locks {
			if redigolock.Renewing(k) {
				t.Error("a renewal outlives Close")
			}
		}
	})
}

// dueAtOnce makes locks whose renewal is due as soon as KeepAlive is called, and that are good for a minute.
func (r *rig) dueAtOnce(l *redigolock.Locker, keys ...string) []*redigolock.Lock {
	r.T.Helper()
	var locks []*redigolock.Lock
	for _, key := range keys {
		r.Do("SET", key, "token", "PX", 60000)
		locks = append(locks, r.Must(l.Attach(bg, key, "token", 5*time.Minute)))
	}
	return locks
}

func TestCloseEndsAllKeepAlivesAtOnceWhenDialsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Server.Dial)
		l := &redigolock.Locker{Pool: dialer.pool(), OpTimeout: 500 * time.Millisecond}
		locks := r.dueAtOnce(l, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t")
		dialer.hang()
		var kept []context.Context
		for _, k := range locks {
			kept = append(kept, k.KeepAlive(bg))
		}
		eventually(t, "the renewals hang in the dial", func() bool { return dialer.hanging() == 1 }) // one for all
		start := time.Now()
		r.OK(l.Close())
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("Close waited for one hung renewal after the other: %v", took)
		}
		for _, ctx := range kept {
			receive(t, "KeepAlive ends", ctx.Done())
			wants(t, context.Cause(ctx), redigolock.ErrClosed)
		}
	})
}
