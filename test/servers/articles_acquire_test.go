package servers

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// stalledCheck has a first client win, and get stuck before its check until its lease has ended and a second client has
// won. It returns what the first then believes.
func (s articleSite) stalledCheck(check, key string, acquire func(c redis.Conn, token string) bool) (first bool) {
	s.t.Helper()
	s.stall(check, func(pool *redis.Pool) {
		c := pool.Get()
		defer c.Close()
		first = acquire(c, "first")
	}, func() {
		s.expire(key)
		s.must(acquire(s.client(), "second"), "the second")
	})
	return first
}

// oursStalledCheck is stalledCheck with our double check.
func oursStalledCheck(s articleSite) func(*testing.T) {
	return func(t *testing.T) {
		var first error
		articleSite{t, s.srv}.stalledCheck("GET", "ours", func(c redis.Conn, token string) bool {
			err := redigolock.SetNXVerified(context.Background(), c, "ours", token, articleTTL)
			if token == "first" {
				first = err
			}
			return err == nil
		})
		if !errors.Is(first, redigolock.ErrHeld) {
			t.Errorf("the first: %v, want ErrHeld", first)
		}
	}
}

// EXISTS says that somebody has the lock, not who.
func TestArticleDExistsProvesSomebodysLock(t *testing.T) {
	s := newArticleSite(t)
	first := s.stalledCheck("EXISTS", "D", func(c redis.Conn, token string) bool {
		return articleD.acquire(c, "D", token, articleTTL)
	})
	if !first {
		t.Error("D: EXISTS told the first holder that its lock was lost")
	}
	t.Run("ours SetNXVerified", oursStalledCheck(s))
}

// What the double check is good for, it needs a value of one's own for.
func TestArticleEDoubleCheckWithAFixedValueTakesAnothersLockForItsOwn(t *testing.T) {
	s := newArticleSite(t)
	first := func(scheme articleScheme) bool {
		return s.stalledCheck("GET", scheme.name, func(c redis.Conn, token string) bool {
			return scheme.acquire(c, scheme.name, token, articleTTL)
		})
	}
	if !first(articleEFixed) {
		t.Error("E: with a fixed value, the check told the first holder that its lock was lost")
	}
	if first(articleE) {
		t.Error("E: with a value of its own, the check did not tell the first holder that its lock was lost")
	}
	t.Run("ours SetNXVerified", oursStalledCheck(s))
}

// A lock can expire right after the check as it can right before. Our verb has that gap as well. What closes it is
// Deadline for whoever looks at the clock before it acts, and Fence at the resource for whoever cannot.
func TestArticleEDoubleCheckNarrowsTheGapButDoesNotCloseIt(t *testing.T) {
	s := newArticleSite(t)
	first, second := s.client(), s.client()
	s.must(articleE.acquire(first, "E", "first", articleTTL), "the first") // checked, and then stalled
	s.expire("E")
	s.must(articleE.acquire(second, "E", "second", articleTTL), "the second")
	for _, write := range []struct {
		c     redis.Conn
		value string
	}{{second, "new"}, {first, "old"}} {
		if _, err := write.c.Do("SET", "resource", write.value); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.value("resource"); got != "old" {
		t.Errorf("E: the resource has %q, expected that the stale holder overwrote the new one's", got)
	}
	t.Run("ours Deadline", func(t *testing.T) { testOursEndsBeforeTheNextBegins(t, articleSite{t, s.srv}) })
	t.Run("ours Fence", func(t *testing.T) { testOursFencesTheStaleHolderOff(t, articleSite{t, s.srv}) })
}

func testOursEndsBeforeTheNextBegins(t *testing.T, s articleSite) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l := s.locker(s.srv.Pool())
	first, err := l.Acquire(ctx, "deadline", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.Acquire(ctx, "deadline", articleTTL)
	if err != nil {
		t.Fatal(err)
	}
	if now := time.Now(); now.Before(first.Deadline()) {
		t.Errorf("the second has the lock %v before the first's Deadline", first.Deadline().Sub(now))
	}
	if err := first.Verify(ctx); !errors.Is(err, redigolock.ErrNotHeld) {
		t.Errorf("the first: verify: %v, want ErrNotHeld", err)
	}
	if err := second.Verify(ctx); err != nil {
		t.Errorf("the second: verify: %v", err)
	}
}

func testOursFencesTheStaleHolderOff(t *testing.T, s articleSite) {
	ctx, c, l := context.Background(), s.client(), s.locker(s.srv.Pool())
	write := func(fence int64, value string) error {
		_, err := redigolock.GuardDo(ctx, c, "guard", fence, "SET", "guarded", value)
		return err
	}
	first := s.tryAcquire(l, "fence")
	stale, err := first.Fence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.expire("fence")
	second := s.tryAcquire(l, "fence")
	fence, err := second.Fence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(fence, "new"); err != nil {
		t.Errorf("the new holder: %v", err)
	}
	if err := write(stale, "old"); !errors.Is(err, redigolock.ErrFenced) {
		t.Errorf("the stale holder: %v, want ErrFenced", err)
	}
	if got := s.value("guarded"); got != "new" {
		t.Errorf("the resource has %q, want the new holder's", got)
	}
}

// limited opens a connection of a user that may not use one command.
func (s articleSite) limited(denied string) redis.Conn {
	s.t.Helper()
	s.do("ACL", "SETUSER", "no-"+denied, "on", "nopass", "~*", "+@all", "-"+denied)
	return s.client(redis.DialUsername("no-"+denied), redis.DialPassword("any"))
}

// Redis does not roll a script back: if EXPIRE is refused after SETNX, nobody gets the lock ever again.
func TestArticleB2LeavesALockWithoutTTLWhenExpireFails(t *testing.T) {
	s := newArticleSite(t)
	for _, tt := range []struct {
		name string
		c    redis.Conn
		ttl  any
	}{
		{"fraction", s.client(), "1.5"},
		{"overflow", s.client(), int64(math.MaxInt64)},
		{"a duration of Go", s.client(), 10 * time.Second},
		{"denied", s.limited("expire"), 10},
	} {
		if articleEval(tt.c, tt.name, "token", tt.ttl) {
			t.Errorf("B2: %s: acquired", tt.name)
		}
		if got := s.pttl(tt.name); got != -1 {
			t.Errorf("B2: %s: PTTL %d, expected -1, a lock for ever", tt.name, got)
		}
	}
	t.Run("ours refuses the ttl", func(t *testing.T) {
		c := s.client()
		for _, ttl := range []time.Duration{1500 * time.Microsecond, math.MaxInt64, 0, -1} {
			err := redigolock.SetNXScript(context.Background(), c, "ours", "token", ttl)
			if got := s.pttl("ours"); !errors.Is(err, redigolock.ErrInvalid) || got != -2 {
				t.Errorf("ttl %v: %v, PTTL %d; want ErrInvalid and no key", ttl, err, got)
			}
		}
	})
	t.Run("ours undoes the write", func(t *testing.T) {
		err := redigolock.SetNXScript(context.Background(), s.limited("pexpire"), "ours", "token", articleTTL)
		if got := s.pttl("ours"); err == nil || got != -2 {
			t.Errorf("PEXPIRE denied: %v, PTTL %d; want an error and no key", err, got)
		}
	})
}

// The old pair has the same gap between its two commands, for any client that dies there.
func TestArticleSetNXThenExpireLeavesALockWithoutTTL(t *testing.T) {
	s := newArticleSite(t)
	proxy := redistest.NewProxy(t, s.srv.Addr())
	c := proxy.Pool().Get()
	defer c.Close()
	proxy.Rule(func(r redistest.Request) redistest.Action {
		if r.Name == "EXPIRE" {
			return redistest.Cut()
		}
		return redistest.Pass()
	})
	if articleTwo.acquire(c, "two", "token", articleTTL) {
		t.Error("SETNX, EXPIRE: acquired, although the client died between the two")
	}
	if got := s.pttl("two"); got != -1 {
		t.Errorf("SETNX, EXPIRE: PTTL %d, expected -1, a lock for ever", got)
	}
	for _, a := range articleOurs {
		t.Run("ours "+a.name, func(t *testing.T) { testOursNeverWithoutTTL(t, s, a.name, a.acquire) })
	}
}

// Wherever the client of ours dies, the key is not there, or has its ttl.
func testOursNeverWithoutTTL(t *testing.T, s articleSite, name string, acquire redigolock.AcquireFunc) {
	for _, died := range []struct {
		name   string
		action redistest.Action
		held   bool
	}{{"before the command", redistest.Cut(), false}, {"before the reply", redistest.Drop(), true}} {
		key := name + " " + died.name
		proxy := redistest.NewProxy(t, s.srv.Addr())
		c := proxy.Pool().Get()
		defer c.Close()
		if err := redigolock.SetNXScript(context.Background(), c, "other", "token", articleTTL); err != nil {
			t.Fatal(err) // the server knows the script from now on
		}
		proxy.Rule(func(redistest.Request) redistest.Action { return died.action })
		if err := acquire(context.Background(), c, key, "token", articleTTL); !errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("died %s: %v, want ErrUnknown", died.name, err)
		}
		eventually(t, "the server has done what it got", func() bool { return proxy.Conns() == 0 })
		if got := s.pttl(key); (got > 0) != died.held || got == -1 {
			t.Errorf("died %s: PTTL %d", died.name, got)
		}
	}
}

// B counts an error as "not acquired". After a lost reply its own lock stands in its way, and nobody releases it.
func TestArticleBLostReplyLeavesALockThatNobodyHolds(t *testing.T) {
	s := newArticleSite(t)
	for _, scheme := range []articleScheme{articleB1, articleB2} {
		proxy := redistest.NewProxy(t, s.srv.Addr())
		proxy.Rule(articleLose(1))
		c, again := proxy.Pool().Get(), s.client()
		if scheme.acquire(c, scheme.name, "token", articleTTL) {
			t.Errorf("%s: acquired without a reply", scheme.name)
		}
		c.Close()
		eventually(t, "the command is carried out", func() bool { return s.pttl(scheme.name) > 0 })
		if scheme.acquire(again, scheme.name, "token", articleTTL) {
			t.Errorf("%s: acquired at the second try, expected that its own lock stands in its way", scheme.name)
		}
	}
	for _, a := range articleOurs {
		t.Run("ours "+a.name, func(t *testing.T) {
			t.Parallel() // its Close waits for what is removed in the background
			testOursLostReply(t, articleSite{t, s.srv}, a.name, a.acquire)
		})
	}
}

// articleLose loses the replies of the first n commands that acquire or look at a lock.
func articleLose(n int) func(redistest.Request) redistest.Action {
	return func(r redistest.Request) redistest.Action {
		switch r.Name {
		case "SET", "SETNX", "EVAL", "EVALSHA":
			if n--; n >= 0 {
				return redistest.Drop()
			}
		}
		return redistest.Pass()
	}
}

// After one lost reply ours finds its lock. If it cannot look, it says so, and removes the lock in the background.
func testOursLostReply(t *testing.T, s articleSite, name string, acquire redigolock.AcquireFunc) {
	ctx, c := context.Background(), s.client()
	if err := redigolock.SetNXScript(ctx, c, "other", "token", articleTTL); err != nil {
		t.Fatal(err) // the server knows the scripts from now on
	}
	if err := redigolock.Extend(ctx, c, "other", "token", articleTTL); err != nil {
		t.Fatal(err)
	}
	proxy := redistest.NewProxy(t, s.srv.Addr())
	l := s.locker(proxy.Pool())
	l.AcquireWith, l.OpTimeout = acquire, time.Second

	proxy.Rule(articleLose(1))
	lock := s.tryAcquire(l, name)
	if err := lock.Verify(ctx); err != nil {
		t.Errorf("the lock found after a lost reply: verify: %v", err)
	}
	if err := lock.Release(ctx); err != nil {
		t.Errorf("the lock found after a lost reply: release: %v", err)
	}

	proxy.Rule(articleLose(math.MaxInt))
	key := name + " all lost"
	if _, err := l.TryAcquire(ctx, key, articleTTL); !errors.Is(err, redigolock.ErrUnknown) {
		t.Errorf("all replies lost: %v, want ErrUnknown", err)
	}
	proxy.Rule(nil)
	eventually(t, "what it may have got is removed", func() bool { return s.pttl(key) == -2 })
}
