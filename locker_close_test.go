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
		r.do("SET", "key", "token", "PX", 20000)
		before := time.Now()
		k := r.must(r.locker.Attach(bg, "key", "token", time.Hour))
		if left := k.Deadline().Sub(before); left > validFor(20*time.Second)+time.Since(before) || left < 10*time.Second {
			t.Errorf("20 s were left, and Deadline is in %v", left)
		}
		if k.Token() != "token" || k.Key() != "key" {
			t.Errorf("key %q, token %q", k.Key(), k.Token())
		}
		r.ok(k.Release(bg))
		if r.get("key") != "" {
			t.Error("the attached lock is still there")
		}
	})
}

func TestAttachCountsFromBeforeTheSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.locker)
		start := c.now()
		r.do("SET", "key", "token", "PX", 20000)
		r.rule(func(string, int) redistest.Action {
			c.add(5 * time.Second) // the request is on its way for so long
			return redistest.Pass()
		})
		k := r.must(r.locker.Attach(bg, "key", "token", time.Hour))
		if d := k.Deadline().Sub(start); d > validFor(20*time.Second) {
			t.Errorf("Deadline is %v after the call, at most %v are good", d, validFor(20*time.Second))
		}
	})
}

func TestAttachVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.locker)
		attach := func(want ...error) {
			t.Helper()
			_, err := r.locker.Attach(bg, "key", "token", time.Minute)
			wants(t, err, want...)
		}
		attach(redigolock.ErrNotHeld)
		r.do("SET", "key", "token2", "PX", 60000) // ours is a prefix of it
		attach(redigolock.ErrNotHeld)
		r.do("SET", "key", "token")
		attach(redigolock.ErrConflict)
		r.do("DEL", "key")
		r.do("RPUSH", "key", "token")
		attach(redigolock.ErrConflict)
		r.do("DEL", "key")
		r.do("SET", "key", "token", "PX", 60000)
		r.rule(func(string, int) redistest.Action {
			c.add(time.Minute)
			return redistest.Pass()
		})
		attach(redigolock.ErrNotHeld) // too little is left when the answer comes
		r.proxy.Rule(nil)
		r.plan(map[string][]redistest.Action{"verify": {redistest.Drop(), redistest.Drop()}})
		attach(redigolock.ErrUnknown)
	})
}

func TestUseAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
		r.ok(r.locker.Close())
		r.ok(r.locker.Close())
		r.silent("a closed Locker", func() {
			_, err := r.locker.TryAcquire(bg, "other", time.Minute)
			wants(t, err, redigolock.ErrClosed)
			_, err = r.locker.Acquire(bg, "other", time.Minute)
			wants(t, err, redigolock.ErrClosed)
			_, err = r.locker.Attach(bg, "key", k.Token(), time.Minute)
			wants(t, err, redigolock.ErrClosed)
			wants(t, r.locker.Do(bg, "other", time.Minute, neverCalled(t)), redigolock.ErrClosed)
			wants(t, context.Cause(k.KeepAlive(bg)), redigolock.ErrClosed)
		})
		if r.get("key") != k.Token() {
			t.Error("Close released a lock that is held")
		}
		r.ok(k.Verify(bg))
		r.ok(k.Release(bg))
		if r.get("key") != "" {
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
		r.locker.Retry = func(int, time.Duration) time.Duration {
			once.Do(func() { close(waiting) })
			return time.Hour
		}
		var locks []*redigolock.Lock
		var kept []context.Context
		for _, key := range []string{"a", "b", "c"} {
			k := r.must(r.locker.TryAcquire(bg, key, time.Minute))
			locks, kept = append(locks, k), append(kept, k.KeepAlive(bg))
		}
		waiter := inBackground(func() error {
			_, err := r.locker.Acquire(bg, "a", time.Minute)
			return err
		})
		receive(t, "the waiter waits", waiting)
		r.ok(r.locker.Close())
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
	r.t.Helper()
	var locks []*redigolock.Lock
	for _, key := range keys {
		r.do("SET", key, "token", "PX", 60000)
		locks = append(locks, r.must(l.Attach(bg, key, "token", 5*time.Minute)))
	}
	return locks
}

func TestCloseEndsAllKeepAlivesAtOnceWhenDialsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.server.Dial)
		l := &redigolock.Locker{Pool: dialer.pool(), OpTimeout: 500 * time.Millisecond}
		locks := r.dueAtOnce(l, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t")
		dialer.hang()
		var kept []context.Context
		for _, k := range locks {
			kept = append(kept, k.KeepAlive(bg))
		}
		eventually(t, "the renewals hang in the dial", func() bool { return dialer.hanging() == 1 }) // one for all
		start := time.Now()
		r.ok(l.Close())
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("Close waited for one hung renewal after the other: %v", took)
		}
		for _, ctx := range kept {
			receive(t, "KeepAlive ends", ctx.Done())
			wants(t, context.Cause(ctx), redigolock.ErrClosed)
		}
	})
}
