package servers

import (
	"context"
	"errors"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// releaseLate has the first holder release after its lease has ended and a second has acquired. It returns what the
// release said, and whether a third could acquire while the second still believed to hold the lock.
func (s articleSite) releaseLate(scheme articleScheme, key string) (err error, twoHolders bool) {
	s.t.Helper()
	first, second, third := s.client(), s.client(), s.client()
	s.must(scheme.acquire(first, key, "first", articleTTL), "the first")
	s.expire(key)
	s.must(scheme.acquire(second, key, "second", articleTTL), "the second")
	err = scheme.release(first, key, "first")
	return err, scheme.acquire(third, key, "third", articleTTL)
}

// oursReleaseLate is releaseLate with a Locker.
func (s articleSite) oursReleaseLate(release redigolock.ReleaseFunc) {
	s.t.Helper()
	l := s.locker(s.srv.Pool())
	l.ReleaseWith = release
	const key = "ours"
	first := s.tryAcquire(l, key)
	s.expire(key)
	second := s.tryAcquire(l, key)
	if err := first.Release(context.Background()); !errors.Is(err, redigolock.ErrNotHeld) {
		s.t.Errorf("release of the lost lock: %v, want ErrNotHeld", err)
	}
	if _, err := l.TryAcquire(context.Background(), key, articleTTL); !errors.Is(err, redigolock.ErrHeld) {
		s.t.Errorf("a third, while the second holds the lock: %v, want ErrHeld", err)
	}
	if err := second.Release(context.Background()); err != nil {
		s.t.Errorf("release of the second: %v", err)
	}
}

var articleReleases = []struct {
	name    string
	release redigolock.ReleaseFunc
}{{"Release", redigolock.Release}, {"ReleaseTx", redigolock.ReleaseTx}}

func TestArticlesBareDelRemovesTheNextHoldersLock(t *testing.T) {
	s := newArticleSite(t)
	for _, scheme := range []articleScheme{articleA, articleB1, articleB2, articleD, articleTwo} {
		err, twoHolders := s.releaseLate(scheme, scheme.name)
		if err != nil || !twoHolders {
			t.Errorf("%s: release: %v, two holders: %t; expected success and two holders", scheme.name, err, twoHolders)
		}
	}
	for _, r := range articleReleases {
		t.Run("ours "+r.name, func(t *testing.T) {
			articleSite{t, s.srv}.oursReleaseLate(r.release)
		})
	}
}

// Compare-and-delete compares nothing if all have the same value.
func TestArticlesFixedValueMakesCompareAndDeleteWorthless(t *testing.T) {
	s := newArticleSite(t)
	aWithLua := articleScheme{"A with Lua", articleA.acquire, articleEFixed.release}
	for _, scheme := range []articleScheme{articleEFixed, aWithLua} {
		err, twoHolders := s.releaseLate(scheme, scheme.name)
		if err != nil || !twoHolders {
			t.Errorf("%s: release: %v, two holders: %t; expected success and two holders", scheme.name, err, twoHolders)
		}
	}
	t.Run("ours Locker", func(t *testing.T) {
		articleSite{t, s.srv}.oursReleaseLate(nil)
	})
}

// C deletes nobody else's lock, which holds. But its caller never hears that the lock was lost while it worked.
func TestArticleCReleaseCallsALostLockSuccess(t *testing.T) {
	s := newArticleSite(t)
	err, twoHolders := s.releaseLate(articleC, "taken")
	if twoHolders {
		t.Error("C: the compare-and-delete removed the next holder's lock")
	}
	if err != nil {
		t.Errorf("C: release of a taken lock: %v, expected success", err)
	}
	c := s.client()
	s.must(articleC.acquire(c, "expired", "token", articleTTL), "C")
	s.expire("expired")
	if err := articleC.release(c, "expired", "token"); err != nil {
		t.Errorf("C: release of an expired lock: %v, expected success", err)
	}
	for _, r := range articleReleases {
		t.Run("ours "+r.name, func(t *testing.T) {
			s := articleSite{t, s.srv}
			s.oursReleaseLate(r.release)
			if err := r.release(context.Background(), c, "expired", "token"); !errors.Is(err, redigolock.ErrNotHeld) {
				t.Errorf("release of an expired lock: %v, want ErrNotHeld", err)
			}
		})
	}
}

// D looks with EXISTS whether its DEL has worked, and finds the lock of the next holder.
func TestArticleDReleaseSeesTheNextHoldersLockAndFails(t *testing.T) {
	s := newArticleSite(t)
	s.must(articleD.acquire(s.client(), "D", "", articleTTL), "the first")
	var err error
	s.stall("EXISTS", func(pool *redis.Pool) {
		c := pool.Get()
		defer c.Close()
		err = articleD.release(c, "D", "")
	}, func() {
		s.must(articleD.acquire(s.client(), "D", "", articleTTL), "the second")
	})
	if err == nil {
		t.Error("D: a release that worked was reported as such, although the next holder came before EXISTS")
	}
	for _, r := range articleReleases {
		t.Run("ours "+r.name, func(t *testing.T) { testOursReleaseSeesNobodyElse(t, s, r.name, r.release) })
	}
}

// Ours is over when the key is deleted: the next holder may come before the reply does.
func testOursReleaseSeesNobodyElse(t *testing.T, s articleSite, key string, release redigolock.ReleaseFunc) {
	ctx, second := context.Background(), s.client()
	// The server knows the script from now on.
	if err := release(ctx, second, key, "none"); !errors.Is(err, redigolock.ErrNotHeld) {
		t.Fatal(err)
	}
	if err := redigolock.SetNX(ctx, second, key, "first", articleTTL); err != nil {
		t.Fatal(err)
	}
	proxy, replied, done := redistest.NewProxy(t, s.srv.Addr()), make(chan struct{}), make(chan error, 1)
	proxy.Rule(func(r redistest.Request) redistest.Action {
		if r.Name == "EVALSHA" || r.Name == "EXEC" {
			return redistest.Hold(replied)
		}
		return redistest.Pass()
	})
	go func() {
		c := proxy.Pool().Get()
		defer c.Close()
		done <- release(ctx, c, key, "first")
	}()
	eventually(t, "the second acquires", func() bool {
		return redigolock.SetNX(ctx, second, key, "second", articleTTL) == nil
	})
	close(replied)
	if err := <-done; err != nil {
		t.Errorf("release: %v", err)
	}
	if got := s.value(key); got != "second" {
		t.Errorf("the key carries %q, want the next holder's token", got)
	}
}

// E's MULTI and EXEC are atomic, but what they do was decided before.
func TestArticleEMultiExecWithoutWatchDeletesAnothersLock(t *testing.T) {
	s := newArticleSite(t)
	s.must(articleE.acquire(s.client(), "E", "first", articleTTL), "the first")
	var err error
	s.stall("MULTI", func(pool *redis.Pool) {
		c := pool.Get()
		defer c.Close()
		err = articleE.release(c, "E", "first")
	}, func() {
		s.expire("E")
		s.must(articleE.acquire(s.client(), "E", "second", articleTTL), "the second")
	})
	if err != nil || s.pttl("E") != -2 {
		t.Errorf("E: release: %v, left of the second's lock: %q; expected success, and the lock gone", err, s.value("E"))
	}
	t.Run("ours ReleaseTx", func(t *testing.T) {
		ctx, first, second := context.Background(), s.client(), s.client()
		if err := redigolock.SetNX(ctx, first, "tx", "first", articleTTL); err != nil {
			t.Fatal(err)
		}
		var err error
		s.stall("DEL", func(pool *redis.Pool) {
			c := pool.Get()
			defer c.Close()
			err = redigolock.ReleaseTx(ctx, c, "tx", "first")
		}, func() {
			s.expire("tx")
			if err := redigolock.SetNX(ctx, second, "tx", "second", articleTTL); err != nil {
				t.Error(err)
			}
		})
		if !errors.Is(err, redigolock.ErrNotHeld) {
			t.Errorf("release: %v, want ErrNotHeld", err)
		}
		if got := s.value("tx"); got != "second" {
			t.Errorf("the key carries %q, want the second's token", got)
		}
	})
}
