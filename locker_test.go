package redigolock_test

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

var releaseWays = []struct {
	name string
	with redigolock.ReleaseFunc
}{
	{"default", nil},
	{"Release", redigolock.Release},
	{"ReleaseTx", redigolock.ReleaseTx},
	{"own", plainRelease},
}

func TestEveryWayToAcquireAndRelease(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		pool := redistest.StartMini(t).Pool()
		everyWay(t, pool)
		oneCycle(t, &redigolock.Locker{Pool: pool, ReleaseWith: redigolock.ReleaseNative}, pool, "native")
	})
	t.Run("redis-server", func(t *testing.T) { everyWay(t, redistest.Start(t).Pool()) })
	t.Run("valkey", func(t *testing.T) {
		pool := redistest.StartValkey(t).Pool()
		everyWay(t, pool)
		oneCycle(t, &redigolock.Locker{Pool: pool, ReleaseWith: redigolock.ReleaseNative}, pool, "native")
	})
}

func everyWay(t *testing.T, pool *redis.Pool) {
	for _, a := range acquireWays {
		for _, b := range releaseWays {
			name := a.Name + "/" + b.name
			t.Run(name, func(t *testing.T) {
				oneCycle(t, &redigolock.Locker{Pool: pool, AcquireWith: a.With, ReleaseWith: b.with, Owner: "me"}, pool, name)
			})
		}
	}
}

// oneCycle uses each method of Locker and Lock once.
func oneCycle(t *testing.T, l *redigolock.Locker, pool *redis.Pool, key string) {
	defer l.Close()
	const ttl = time.Minute
	wait, enough := context.WithCancel(bg)
	l.Retry = func(attempt int, heldFor time.Duration) time.Duration {
		enough()
		return redigolock.DefaultRetry(attempt, heldFor)
	}
	before := time.Now()
	k, err := l.TryAcquire(bg, key, ttl)
	if err != nil {
		t.Fatal(err)
	}
	if k.Key() != key || !strings.HasPrefix(k.Token(), l.Owner) || stored(t, pool, key) != k.Token() {
		t.Errorf("key %q, token %q, stored %q", k.Key(), k.Token(), stored(t, pool, key))
	}
	if d := k.Deadline(); d.Before(before.Add(validFor(ttl))) || d.After(time.Now().Add(validFor(ttl))) {
		t.Errorf("Deadline %v after the call", d.Sub(before))
	}
	_, err = l.TryAcquire(bg, key, ttl)
	wants(t, err, redigolock.ErrHeld)
	_, err = l.Acquire(wait, key, ttl)
	wants(t, err, redigolock.ErrHeld, context.Canceled)
	useLock(t, k)
	wants(t, k.Release(bg), redigolock.ErrNotHeld) // a second one
	if got := stored(t, pool, key); got != "" {
		t.Errorf("after the release the key holds %q", got)
	}
	k, err = l.Acquire(bg, key, ttl)
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Attach(bg, key, k.Token(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Release(bg); err != nil {
		t.Error(err)
	}
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
	if err := l.Do(bg, key, ttl, func(_ context.Context, k *redigolock.Lock) error { return k.Verify(bg) }); err != nil {
		t.Error(err)
	}
	if got := stored(t, pool, key); got != "" {
		t.Errorf("after Do the key holds %q", got)
	}
}

// useLock verifies, extends, fences and releases.
func useLock(t *testing.T, k *redigolock.Lock) {
	t.Helper()
	if err := k.Verify(bg); err != nil {
		t.Error(err)
	}
	old := k.Deadline()
	if err := k.Extend(bg, 2*time.Minute); err != nil {
		t.Error(err)
	}
	if gain := k.Deadline().Sub(old); gain < 50*time.Second {
		t.Errorf("Extend by a minute moved Deadline by %v", gain)
	}
	n, err := k.Fence(bg)
	if err != nil || n <= 0 {
		t.Errorf("Fence: %d, %v", n, err)
	}
	if again, err := k.Fence(bg); err != nil || again <= n {
		t.Errorf("Fence: %d, %v after %d", again, err, n)
	}
	kept := k.KeepAlive(bg)
	if kept.Err() != nil {
		t.Error(context.Cause(kept))
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
	if cause := context.Cause(kept); cause != context.Canceled {
		t.Errorf("the cause after the release is %v", cause)
	}
}

// stored is the token in the key, "" if there is none.
func stored(t *testing.T, pool *redis.Pool, key string) string {
	t.Helper()
	c := pool.Get()
	defer c.Close()
	token, err := redis.String(c.Do("GET", key))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		t.Fatal(err)
	}
	return token
}

func endsIn(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(bg, d)
	t.Cleanup(cancel)
	return ctx
}

// noPool fails the test when it is used.
type noPool struct{ t *testing.T }

func (p noPool) Get() redis.Conn {
	p.t.Error("a connection was borrowed")
	return (&redis.Pool{}).Get()
}

func TestBadInputIsRefusedBeforeAnyIO(t *testing.T) {
	var nilCtx context.Context
	const key, ttl = "key", time.Minute
	for _, x := range []struct {
		name string
		ctx  context.Context
		key  string
		ttl  time.Duration
	}{
		{"nil ctx", nilCtx, key, ttl},
		{"empty key", bg, "", ttl},
		{"key over 64 KiB", bg, strings.Repeat("k", 64<<10+1), ttl},
		{"ttl 0", bg, key, 0},
		{"ttl negative", bg, key, -time.Second},
		{"ttl 500µs", bg, key, 500 * time.Microsecond},
		{"ttl 1.5ms", bg, key, 1500 * time.Microsecond},
		{"ttl 10.5ms", bg, key, 10500 * time.Microsecond},
		{"ttl under 10ms", bg, key, 9 * time.Millisecond},
		{"ttl over 24h", bg, key, 24*time.Hour + time.Millisecond},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := &redigolock.Locker{Pool: noPool{t}}
			allInvalid(t, l, x.ctx, x.key, x.ttl)
		})
	}
}

// allInvalid checks that all four ways to a lock refuse this.
func allInvalid(t *testing.T, l *redigolock.Locker, ctx context.Context, key string, ttl time.Duration) {
	t.Helper()
	_, err := l.TryAcquire(ctx, key, ttl)
	wants(t, err, redigolock.ErrInvalid)
	_, err = l.Acquire(ctx, key, ttl)
	wants(t, err, redigolock.ErrInvalid)
	_, err = l.Attach(ctx, key, "token", ttl)
	wants(t, err, redigolock.ErrInvalid)
	err = l.Do(ctx, key, ttl, func(context.Context, *redigolock.Lock) error {
		t.Error("fn was called")
		return nil
	})
	wants(t, err, redigolock.ErrInvalid)
}

func TestBadLockerIsRefusedBeforeAnyIO(t *testing.T) {
	for name, l := range map[string]*redigolock.Locker{
		"nil Pool":           {},
		"typed nil Pool":     {Pool: (*redis.Pool)(nil)},
		"negative OpTimeout": {Pool: noPool{t}, OpTimeout: -1},
		"negative MaxHold":   {Pool: noPool{t}, MaxHold: -1},
	} {
		t.Run(name, func(t *testing.T) { allInvalid(t, l, bg, "key", time.Minute) })
	}
}

func TestOwnerThatCouldBeTakenForTheRestIsRefused(t *testing.T) {
	for _, owner := range []string{"a|b", "|", "a b", "é", "a\n", "a\x7f", "a\x00", strings.Repeat("o", 129)} {
		l := &redigolock.Locker{Pool: noPool{t}, Owner: owner}
		_, err := l.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrInvalid)
		_, err = l.Acquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrInvalid)
	}
	pool := redistest.StartMini(t).Pool()
	for _, owner := range []string{"", "a", "!~", strings.Repeat("o", 128)} {
		l := &redigolock.Locker{Pool: pool, Owner: owner}
		k, err := l.TryAcquire(bg, "key", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if owner != "" && !strings.HasPrefix(k.Token(), owner+"|") {
			t.Errorf("owner %q, token %q", owner, k.Token())
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	}
}

func TestLimitsOfGoodInputAreAccepted(t *testing.T) {
	l := &redigolock.Locker{Pool: redistest.StartMini(t).Pool()}
	for _, ttl := range []time.Duration{10 * time.Millisecond, 24 * time.Hour} {
		for _, key := range []string{"k", "\x00\r\n\xff {}", strings.Repeat("k", 64<<10)} {
			if _, err := l.TryAcquire(bg, key, ttl); err != nil && !errors.Is(err, redigolock.ErrExpired) && ttl > time.Second {
				t.Errorf("ttl %v, key %.10q: %v", ttl, key, err)
			} else if errors.Is(err, redigolock.ErrInvalid) {
				t.Errorf("ttl %v, key %.10q: %v", ttl, key, err)
			}
			eventually(t, "the short lock ends", func() bool { return ttl > time.Second || stored(t, l.Pool.(*redis.Pool), key) == "" })
		}
	}
}

func TestNilFunctionAndEmptyTokenAreInvalid(t *testing.T) {
	l := &redigolock.Locker{Pool: noPool{t}}
	wants(t, l.Do(bg, "key", time.Minute, nil), redigolock.ErrInvalid)
	for _, token := range []string{"", strings.Repeat("t", 64<<10+1)} {
		_, err := l.Attach(bg, "key", token, time.Minute)
		wants(t, err, redigolock.ErrInvalid)
	}
}

func TestNilContextIsInvalidForEveryMethodOfALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		var nilCtx context.Context
		r.Silent("a nil ctx", func() {
			wants(t, k.Verify(nilCtx), redigolock.ErrInvalid)
			wants(t, k.Extend(nilCtx, time.Minute), redigolock.ErrInvalid)
			_, err := k.Fence(nilCtx)
			wants(t, err, redigolock.ErrInvalid)
			wants(t, k.Release(nilCtx), redigolock.ErrInvalid)
			kept := k.KeepAlive(nilCtx)
			wants(t, context.Cause(kept), redigolock.ErrInvalid)
			for _, ttl := range []time.Duration{0, -1, 500 * time.Microsecond, 9 * time.Millisecond, 25 * time.Hour} {
				wants(t, k.Extend(bg, ttl), redigolock.ErrInvalid)
			}
		})
		r.OK(k.Release(bg)) // what was invalid has done nothing
	})
}

func TestCopiedLockerIsSeenByVet(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the go tool")
	}
	out, err := exec.Command("go", "vet", "-copylocks", "./testdata/copied").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "copies lock value") {
		t.Errorf("go vet says %v: %s", err, out)
	}
}

func TestEndedContextSendsAndBorrowsNothing(t *testing.T) {
	cause := errors.New("the cause")
	ended, cancel := context.WithCancelCause(bg)
	cancel(cause)
	l := &redigolock.Locker{Pool: noPool{t}}
	_, err := l.TryAcquire(ended, "key", time.Minute)
	wants(t, err, context.Canceled, cause)
	_, err = l.Acquire(ended, "key", time.Minute)
	wants(t, err, context.Canceled, cause)
	_, err = l.Attach(ended, "key", "token", time.Minute)
	wants(t, err, context.Canceled, cause)
	wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld)

	pool := &countingPool{Pool: redistest.StartMini(t).Pool()}
	l = &redigolock.Locker{Pool: pool}
	k, err := l.TryAcquire(bg, "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	before := pool.gets.Load()
	wants(t, k.Verify(ended), context.Canceled, cause)
	wants(t, k.Extend(ended, time.Minute), context.Canceled, cause)
	_, err = k.Fence(ended)
	wants(t, err, context.Canceled, cause)
	if n := pool.gets.Load() - before; n != 0 {
		t.Errorf("%d connections were borrowed with an ended context", n)
	}
	if err := k.Release(ended); err != nil {
		t.Error(err)
	}
}

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
		time.Sleep(time.Millisecond)                                                                 // or Close would give the renewal up at the very instant at which it gives its dial up
		start := time.Now()
		r.OK(l.Close())
		if took := time.Since(start); took != 3*l.OpTimeout {
			t.Errorf("Close waited for one hung renewal after the other: %v", took)
		}
		for _, ctx := range kept {
			receive(t, "KeepAlive ends", ctx.Done())
			wants(t, context.Cause(ctx), redigolock.ErrClosed)
		}
	})
}

var errFn = errors.New("what fn returned")

func TestDoHoldsTheLockWhileFnRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		err := r.Locker.Do(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
			if r.Get("key") != k.Token() {
				t.Error("fn runs without the lock")
			}
			if ctx.Err() != nil || ctx.Done() == nil {
				t.Error("fn's context has ended, or cannot end")
			}
			return nil
		})
		r.OK(err)
		if r.Get("key") != "" {
			t.Error("Do left the lock")
		}
	})
}

func TestDoReturnsALoneErrorOfFnAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		if err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { return errFn }); err != errFn {
			t.Errorf("Do returned %#v", err)
		}
		if r.Get("key") != "" {
			t.Error("Do left the lock")
		}
	})
}

func TestDoRenewsWhileFnRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl = 2 * time.Second
		r.OK(r.Locker.Do(bg, "key", ttl, func(ctx context.Context, k *redigolock.Lock) error {
			first := k.Deadline()
			eventually(t, "fn outlives its ttl, and what one renewal gives", func() bool {
				return time.Since(first) > ttl || ctx.Err() != nil
			})
			return context.Cause(ctx)
		}))
	})
}

func TestDoOfALostLockIsErrLostThoughFnReturnedNil(t *testing.T) {
	for _, fnErr := range []error{nil, errFn} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			err := r.Locker.Do(bg, "key", 1500*time.Millisecond, func(ctx context.Context, k *redigolock.Lock) error {
				r.Do("SET", "key", "another's", "PX", 60000)
				receive(t, "the loss is seen", ctx.Done())
				return fnErr
			})
			wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
			if fnErr != nil {
				wants(t, err, fnErr)
			}
			if r.Get("key") != "another's" {
				t.Error("another's lock was touched")
			}
		})
	}
}

func TestDoOfALockThatOnlyTheReleaseFindsLostIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
			r.Do("DEL", "key")
			return nil
		})
		wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
	})
}

func TestDoThatOutlivesItsLockAfterItsContextEndedIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		ctx, cancel := context.WithCancel(bg)
		err := r.Locker.Do(ctx, "key", time.Minute, func(kept context.Context, k *redigolock.Lock) error {
			cancel() // ends the renewals
			receive(t, "fn's context ends", kept.Done())
			c.Add(2 * time.Minute)
			return nil
		})
		wants(t, err, redigolock.ErrLost)
	})
}

func TestDoWhoseFnReleasesItselfIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		err := r.Locker.Do(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
			err := k.Release(ctx)
			r.Do("SET", "key", "another's", "PX", 60000)
			return err
		})
		r.OK(err)
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent", n)
		}
		if r.Get("key") != "another's" {
			t.Error("another's lock was touched")
		}
	})
}

func TestDoReleasesWhenFnPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		defer func() {
			if p := recover(); p != "fn's panic" {
				t.Errorf("recovered %v", p)
			}
			if r.Get("key") != "" {
				t.Error("a panic left the lock")
			}
		}()
		r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { panic("fn's panic") })
	})
}

func TestDoReleasesWhenFnEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
				runtime.Goexit()
				return nil
			})
		}()
		receive(t, "the goroutine ends", done)
		if r.Get("key") != "" {
			t.Error("Goexit left the lock")
		}
	})
}

func TestDoReleasesThoughItsContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		ctx, cancel := context.WithCancel(bg)
		err := r.Locker.Do(ctx, "key", time.Minute, func(kept context.Context, _ *redigolock.Lock) error {
			cancel()
			receive(t, "fn's context ends", kept.Done())
			return kept.Err()
		})
		if err != context.Canceled {
			t.Errorf("Do returned %v", err)
		}
		if r.Get("key") != "" {
			t.Error("a cancelled request left its lock")
		}
	})
}

func TestDoJoinsEveryError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Plan(map[string][]redistest.Action{"release": {redistest.Drop(), redistest.Drop()}})
		err := r.Locker.Do(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { return errFn })
		wants(t, err, errFn, redigolock.ErrUnknown)
		wantsNot(t, err, redigolock.ErrLost)
	})
}

func TestDoReturnsWhyItGotNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "another's", "PX", 60000)
		ctx, cancel := context.WithCancel(bg)
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			cancel()
			return time.Minute
		}
		err := r.Locker.Do(ctx, "key", time.Minute, neverCalled(t))
		wants(t, err, redigolock.ErrHeld, context.Canceled)
	})
}

func TestTryDoRunsWithTheLockAndReleasesIt(t *testing.T) {
	for _, fair := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.Fair = fair
			var lock *redigolock.Lock
			err := r.Locker.TryDo(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) error {
				lock = k
				if !redigolock.Kept(k) || ctx.Err() != nil {
					t.Error("fn runs with a lock that is not kept alive")
				}
				wants(t, r.Locker.TryDo(ctx, "key", time.Minute, neverCalled(t)), redigolock.ErrHeld)
				return k.Verify(ctx)
			})
			r.OK(err)
			wants(t, lock.Verify(bg), redigolock.ErrNotHeld)
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			r.OK(k.Release(bg))
			r.OK(r.Locker.Close())
		})
	}
}

func TestTryDoIsErrHeldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Do("SET", "key", "another's", "PX", 60000)
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			t.Error("TryDo waits")
			return -1
		}
		learns(t, r.Locker)
		before := len(r.Sent("set"))
		var held *redigolock.HeldError
		err := r.Locker.TryDo(bg, "key", time.Minute, neverCalled(t))
		if !errors.As(err, &held) {
			t.Errorf("TryDo returned %v", err)
		}
		if n := len(r.Sent("set")) - before; n != 1 {
			t.Errorf("%d tries", n)
		}
	})
}

func TestTryDoReleasesWhateverFnDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		if err := r.Locker.TryDo(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { return errFn }); err != errFn {
			t.Errorf("TryDo returned %#v", err)
		}
		if r.Get("key") != "" {
			t.Error("an error left the lock")
		}
		func() {
			defer func() {
				if p := recover(); p != "fn's panic" {
					t.Errorf("recovered %v", p)
				}
			}()
			r.Locker.TryDo(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error { panic("fn's panic") })
		}()
		if r.Get("key") != "" {
			t.Error("a panic left the lock")
		}
		err := r.Locker.TryDo(bg, "key", time.Minute, func(context.Context, *redigolock.Lock) error {
			r.Do("DEL", "key")
			return nil
		})
		wants(t, err, redigolock.ErrLost, redigolock.ErrNotHeld)
	})
}

func TestTryDoOfAnUnknownOutcomeRunsNothingAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		r.Rule(func(verb string, n int) redistest.Action {
			switch verb {
			case "set":
				return redistest.Drop()
			case "extend": // the look at whether it is there
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		err := r.Locker.TryDo(bg, "key", time.Minute, neverCalled(t))
		wants(t, err, redigolock.ErrUnknown)
		eventually(t, "the lost SET was carried out, and is cleaned up", func() bool { return r.Get("key") == "" })
		r.noCleanUp()
		if r.Get("key") != "" {
			t.Error("TryDo left the lock")
		}
	})
}

func TestTryDoChecksBeforeItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Silent("TryDo", func() {
			wants(t, r.Locker.TryDo(bg, "key", time.Minute, nil), redigolock.ErrInvalid)
			wants(t, r.Locker.TryDo(bg, "", time.Minute, neverCalled(t)), redigolock.ErrInvalid)
			wants(t, r.Locker.TryDo(bg, "key", time.Microsecond, neverCalled(t)), redigolock.ErrInvalid)
			var none context.Context
			wants(t, r.Locker.TryDo(none, "key", time.Minute, neverCalled(t)), redigolock.ErrInvalid)
			ctx, cancel := context.WithCancel(bg)
			cancel()
			wants(t, r.Locker.TryDo(ctx, "key", time.Minute, neverCalled(t)), context.Canceled)
		})
	})
}

func TestDoOfMaxHoldIsErrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.MaxHold = 200 * time.Millisecond
		err := r.Locker.Do(bg, "key", time.Minute, func(ctx context.Context, _ *redigolock.Lock) error {
			receive(t, "MaxHold is reached", ctx.Done())
			return nil
		})
		wants(t, err, redigolock.ErrLost)
		wantsNot(t, err, redigolock.ErrNotHeld) // it is still the holder, and releases
		if r.Get("key") != "" {
			t.Error("the lock was left after MaxHold")
		}
	})
}
