package redigolock_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
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
