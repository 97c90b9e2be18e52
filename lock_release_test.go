package redigolock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestReleaseWithEndedContextStillReleases(t *testing.T) { // `defer lock.Release(ctx)` of redislock leaves it
	for _, b := range releaseWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.ReleaseWith = b.with
			ctx, cancel := context.WithCancel(bg)
			k := r.Must(r.Locker.TryAcquire(ctx, "key", time.Minute))
			cancel()
			if err := k.Release(ctx); err != nil || r.Get("key") != "" {
				t.Errorf("%s: %v, the key holds %q", b.name, err, r.Get("key"))
			}
		})
	}
}

func TestReleaseIsNotCancelledWhileItWaitsForItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		ctx, cancel := context.WithCancel(bg)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		hold, arrived := make(chan struct{}), make(chan struct{})
		r.Rule(func(string, int) redistest.Action {
			close(arrived)
			return redistest.Hold(hold)
		})
		released := inBackground(func() error { return k.Release(ctx) })
		receive(t, "the release is sent", arrived)
		cancel()
		close(hold)
		if err := receive(t, "Release returns", released); err != nil {
			t.Error(err)
		}
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent", n)
		}
	})
}

func TestReleaseTriesTwice(t *testing.T) {
	reply := redistest.Reply
	for name, x := range map[string]struct {
		actions []redistest.Action
		want    error // nil: released
		sent    int
	}{
		"reply lost, then not held":      {[]redistest.Action{redistest.Drop()}, nil, 2},
		"reply cut off, then not held":   {[]redistest.Action{redistest.Truncate(1)}, nil, 2},
		"hangs, then not held":           {[]redistest.Action{redistest.Swallow()}, nil, 2},
		"not carried out, then released": {[]redistest.Action{redistest.Cut()}, nil, 2},
		"loading, then released":         {[]redistest.Action{reply("-LOADING wait\r\n")}, nil, 2},
		"both lost":                      {[]redistest.Action{redistest.Drop(), redistest.Drop()}, redigolock.ErrUnknown, 2},
		"both hang":                      {[]redistest.Action{redistest.Swallow(), redistest.Swallow()}, redigolock.ErrUnknown, 2},
		"never carried out":              {[]redistest.Action{redistest.Cut(), redistest.Cut()}, redigolock.ErrUnknown, 2},
		"refused for good":               {[]redistest.Action{reply("-NOPERM no\r\n")}, redis.Error("NOPERM no"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.OpTimeout = shortOp
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				r.Plan(map[string][]redistest.Action{"release": x.actions})
				err := k.Release(bg)
				if !errors.Is(err, x.want) {
					t.Errorf("the error is %v, want %v", err, x.want)
				}
				wantsNot(t, err, context.DeadlineExceeded, context.Canceled) // OpTimeout is no context of the caller's
				sent := r.Sent("release")
				if len(sent) != x.sent {
					t.Errorf("%d releases were sent, want %d", len(sent), x.sent)
				}
				if x.sent == 2 && len(sent) == 2 && sent[0].Conn == sent[1].Conn {
					t.Error("the second try took the same connection")
				}
				if x.want == nil && r.Get("key") != "" {
					t.Error("the key was left")
				}
				r.Silent("a second Release", func() { wants(t, k.Release(bg), redigolock.ErrNotHeld) })
			})
		})
	}
}

func TestLostReleaseOfAUsersOwnIsUnknownToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.ReleaseWith = plainRelease
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Plan(map[string][]redistest.Action{"eval": {redistest.Cut(), redistest.Cut()}})
		wants(t, k.Release(bg), redigolock.ErrUnknown)

		pool := r.Proxy.Pool()
		pool.MaxActive = 1
		l := &redigolock.Locker{Pool: pool, ReleaseWith: plainRelease}
		k = r.Must(l.TryAcquire(bg, "other", time.Minute))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		r.Plan(map[string][]redistest.Action{"eval": {redistest.Cut()}})
		wants(t, k.Release(bg), redigolock.ErrUnknown) // the first was not sent, the second was lost
		r.OK(l.Close())
	})
}

func TestReleaseThatFoundNothingIsNotHeldUnlessItWasSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		r.Do("DEL", "key")
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent", n)
		}
	})
}

func TestReleaseGoesAroundAnExhaustedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("the key was left")
		}
	})
}

func TestReleaseWhoseReplyWasLostAfterDeadlineIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "release" && n == 1 {
				c.Add(time.Minute) // it may have expired, been taken by another, or been deleted by the first try
				return redistest.Drop()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
	})
}

func TestReleaseNeverTouchesAnothersLock(t *testing.T) {
	for _, b := range releaseWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.ReleaseWith = b.with
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			r.Do("SET", "key", k.Token()+"x", "PX", 60000)
			wants(t, k.Release(bg), redigolock.ErrNotHeld)
			if r.Get("key") != k.Token()+"x" {
				t.Errorf("%s touched another's lock", b.name)
			}
		})
	}
}

func TestOnlyOneOfManyReleasesWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		const n = 16
		errs := make(chan error, n)
		start := make(chan struct{})
		for range n {
			go func() {
				<-start
				errs <- k.Release(bg)
			}()
		}
		close(start)
		wins := 0
		for range n {
			err := receive(t, "all return", errs)
			if err == nil {
				wins++
			} else {
				wants(t, err, redigolock.ErrNotHeld)
			}
		}
		if sent := len(r.Sent("release")); wins != 1 || sent != 1 {
			t.Errorf("%d won, %d commands were sent", wins, sent)
		}
	})
}

func TestReleasedHandleIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.OK(k.Release(bg))
		mustNotBeHeld(t, r, k)
		kept := k.KeepAlive(bg)
		if kept.Err() == nil || context.Cause(kept) != context.Canceled {
			t.Errorf("KeepAlive after Release: %v", context.Cause(kept))
		}
	})
}

func TestReleaseOfAHungServerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Server.Pause()
		defer r.Server.Resume()
		start := time.Now()
		err := k.Release(bg)
		wants(t, err, redigolock.ErrUnknown)
		wantsNot(t, err, context.DeadlineExceeded)
		if took := time.Since(start); took < r.Locker.OpTimeout || took > 5*time.Second {
			t.Errorf("Release took %v", took)
		}
	})
}

func TestReleaseDoesNotHangInADialWithoutContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Server.Dial)
		l := &redigolock.Locker{Pool: dialer.pool(), OpTimeout: shortOp}
		k := r.Must(l.TryAcquire(bg, "key", time.Minute))
		dialer.hang()
		if err := receive(t, "Release returns", inBackground(func() error { return k.Release(bg) })); err == nil {
			t.Error("Release without a connection says that it released")
		}
	})
}

func TestReleaseRemovesItsOwnTokenThoughItLostItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Do("PERSIST", "key")
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("a lock without TTL was left for ever")
		}
	})
}
