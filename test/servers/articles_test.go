package servers

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// Five articles that Go developers copy their Redis locks from, each scheme written anew, and judged on a real server.
// Each test shows what goes wrong with a scheme, or that it holds; its subtests "ours …" play the same scenario with
// this package. The table is in docs/articles.md.

// An articleScheme acquires and releases as an article does. The token is what the articles with a unique value use.
type articleScheme struct {
	name    string
	acquire func(c redis.Conn, key, token string, ttl time.Duration) bool
	release func(c redis.Conn, key, token string) error
}

const (
	articleValue = "mylockvalue" // what A and E give to everybody
	articleTTL   = 30 * time.Second

	articleCompareAndDelete = `
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`
	articleSetNXExpire = `
if redis.call("SETNX", KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call("EXPIRE", KEYS[1], ARGV[2])
return 1`
)

var (
	articleA = articleScheme{"A", func(c redis.Conn, key, _ string, _ time.Duration) bool {
		return articleSet(c, key, articleValue, "EX", 10)
	}, articleDel}

	articleB1 = articleScheme{"B1", func(c redis.Conn, key, token string, ttl time.Duration) bool {
		return articleSet(c, key, token, "EX", int64(ttl.Seconds()))
	}, articleDel}

	articleB2 = articleScheme{"B2", func(c redis.Conn, key, token string, ttl time.Duration) bool {
		return articleEval(c, key, token, int64(ttl.Seconds()))
	}, articleDel}

	articleC = articleScheme{"C", articleB1.acquire, articleLuaRelease}

	articleD = articleScheme{"D", func(c redis.Conn, key, _ string, _ time.Duration) bool {
		if !articleSet(c, key, time.Now().Unix(), "EX", 10) {
			return false
		}
		exists, err := redis.Bool(c.Do("EXISTS", key))
		return err == nil && exists
	}, func(c redis.Conn, key, token string) error {
		if err := articleDel(c, key, token); err != nil {
			return err
		}
		if exists, err := redis.Bool(c.Do("EXISTS", key)); err != nil || exists {
			return errors.Join(errors.New("release failed: the key is still there"), err)
		}
		return nil
	}}

	articleE = articleScheme{"E", func(c redis.Conn, key, token string, ttl time.Duration) bool {
		return articleSet(c, key, token, "PX", ttl.Milliseconds()) && articleIsMine(c, key, token)
	}, func(c redis.Conn, key, token string) error {
		if !articleIsMine(c, key, token) {
			return errors.New("not mine")
		}
		if _, err := c.Do("MULTI"); err != nil {
			return err
		}
		if _, err := c.Do("DEL", key); err != nil {
			return err
		}
		_, err := c.Do("EXEC")
		return err
	}}

	articleEFixed = articleScheme{"E, fixed value", func(c redis.Conn, key, _ string, ttl time.Duration) bool {
		return articleE.acquire(c, key, articleValue, ttl)
	}, func(c redis.Conn, key, _ string) error {
		return articleLuaRelease(c, key, articleValue)
	}}

	articleTwo = articleScheme{"SETNX, EXPIRE", func(c redis.Conn, key, token string, ttl time.Duration) bool {
		if won, err := redis.Bool(c.Do("SETNX", key, token)); err != nil || !won {
			return false
		}
		_, err := c.Do("EXPIRE", key, int64(ttl.Seconds()))
		return err == nil
	}, articleDel}

	articleSchemes = []articleScheme{
		articleA, articleB1, articleB2, articleC, articleD, articleE, articleEFixed, articleTwo,
	}
)

func articleSet(c redis.Conn, key string, value any, unit string, n int64) bool {
	reply, err := redis.String(c.Do("SET", key, value, unit, n, "NX"))
	return err == nil && reply == "OK"
}

func articleEval(c redis.Conn, key, token string, ttl any) bool {
	won, err := redis.Bool(c.Do("EVAL", articleSetNXExpire, 1, key, token, ttl))
	return err == nil && won
}

func articleIsMine(c redis.Conn, key, token string) bool {
	value, err := redis.String(c.Do("GET", key))
	return err == nil && value == token
}

func articleDel(c redis.Conn, key, _ string) error {
	_, err := c.Do("DEL", key)
	return err
}

func articleLuaRelease(c redis.Conn, key, token string) error {
	_, err := redis.Int(c.Do("EVAL", articleCompareAndDelete, 1, key, token)) // 0 is no error
	return err
}

// articleOurs are the approaches of this package.
var articleOurs = []struct {
	name    string
	acquire redigolock.AcquireFunc
}{
	{"SetNX", redigolock.SetNX}, {"SetNXVerified", redigolock.SetNXVerified}, {"SetNXGet", redigolock.SetNXGet},
	{"SetNXScript", redigolock.SetNXScript},
}

// An articleSite is a server with clients that do not know of each other.
type articleSite struct {
	t   *testing.T
	srv *redistest.Server
}

func newArticleSite(t *testing.T) articleSite {
	t.Helper()
	return articleSite{t, redistest.Start(t)}
}

// client opens a connection of its own.
func (s articleSite) client(opts ...redis.DialOption) redis.Conn {
	s.t.Helper()
	c, err := s.srv.Dial(opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s articleSite) locker(pool *redis.Pool) *redigolock.Locker {
	l := &redigolock.Locker{Pool: pool, OpTimeout: 5 * time.Second}
	s.t.Cleanup(func() { l.Close() })
	return l
}

// do is a command of the administrator.
func (s articleSite) do(cmd string, args ...any) any {
	s.t.Helper()
	reply, err := s.srv.Do(cmd, args...)
	if err != nil {
		s.t.Fatal(cmd, args, err)
	}
	return reply
}

// expire ends the lease of key now, as it would end by itself while its holder is stalled.
func (s articleSite) expire(key string) {
	s.t.Helper()
	s.do("PEXPIRE", key, 1)
	eventually(s.t, "the lease of "+key+" has ended", func() bool { return s.do("EXISTS", key) == int64(0) })
}

// pttl is what is left of key in ms: −1 for ever, −2 there is no key.
func (s articleSite) pttl(key string) int64 {
	s.t.Helper()
	return s.do("PTTL", key).(int64)
}

func (s articleSite) value(key string) string {
	s.t.Helper()
	v, _ := s.do("GET", key).([]byte)
	return string(v)
}

// must fails the test if an acquire that the scenario is made of does not succeed.
func (s articleSite) must(won bool, what string) {
	s.t.Helper()
	if !won {
		s.t.Fatalf("%s did not acquire", what)
	}
}

// tryAcquire is a TryAcquire that must succeed.
func (s articleSite) tryAcquire(l *redigolock.Locker, key string) *redigolock.Lock {
	s.t.Helper()
	lock, err := l.TryAcquire(context.Background(), key, articleTTL)
	if err != nil {
		s.t.Fatal(err)
	}
	return lock
}

// stall runs a client whose first command of that name gets stuck on its way to the server until meanwhile is done.
func (s articleSite) stall(command string, client func(*redis.Pool), meanwhile func()) {
	s.t.Helper()
	proxy := redistest.NewProxy(s.t, s.srv.Addr())
	stuck, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	first := true
	proxy.Rule(func(r redistest.Request) redistest.Action {
		if r.Name != command || !first {
			return redistest.Pass()
		}
		first = false
		close(stuck)
		return redistest.Late(release)
	})
	go func() {
		defer close(done)
		client(proxy.Pool())
	}()
	select {
	case <-stuck:
		meanwhile()
	case <-done:
		s.t.Errorf("the client ended without %s", command)
	}
	close(release)
	<-done
}

// What holds: while the lease runs, each scheme keeps everybody else out.
func TestArticlesExcludeWhileTheLeaseRuns(t *testing.T) {
	s := newArticleSite(t)
	for _, scheme := range articleSchemes {
		first, second := s.client(), s.client()
		s.must(scheme.acquire(first, scheme.name, "first", articleTTL), "the first of "+scheme.name)
		if scheme.acquire(second, scheme.name, "second", articleTTL) {
			t.Errorf("%s: two holders within one lease", scheme.name)
		}
		if err := scheme.release(first, scheme.name, "first"); err != nil {
			t.Errorf("%s: release: %v", scheme.name, err)
		}
		if !scheme.acquire(second, scheme.name, "second", articleTTL) {
			t.Errorf("%s: not free after the release", scheme.name)
		}
	}
	for _, a := range articleOurs {
		t.Run("ours "+a.name, func(t *testing.T) {
			ctx, c := context.Background(), s.client()
			if err := a.acquire(ctx, c, a.name, "first", articleTTL); err != nil {
				t.Fatal(err)
			}
			if err := a.acquire(ctx, c, a.name, "second", articleTTL); !errors.Is(err, redigolock.ErrHeld) {
				t.Errorf("second: %v, want ErrHeld", err)
			}
			if err := redigolock.Release(ctx, c, a.name, "first"); err != nil {
				t.Error(err)
			}
			if err := a.acquire(ctx, c, a.name, "second", articleTTL); err != nil {
				t.Errorf("not free after the release: %v", err)
			}
		})
	}
}

// E's check is a round trip of its own. In a pipeline it is free.
func TestArticleEDoubleCheckCostsASecondRoundTrip(t *testing.T) {
	s := newArticleSite(t)
	const n = 20
	roundTrips := func(acquire func(i int)) int64 {
		before, err := s.srv.Reads()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			acquire(i)
		}
		after, err := s.srv.Reads()
		if err != nil {
			t.Fatal(err)
		}
		return after - before - 2 // the asking itself
	}
	c := s.client()
	if got := roundTrips(func(i int) {
		s.must(articleE.acquire(c, fmt.Sprint("E", i), "token", articleTTL), "E")
	}); got != 2*n {
		t.Errorf("E: %d acquires took %d round trips, expected 2 each", n, got)
	}
	t.Run("ours SetNXVerified", func(t *testing.T) {
		got := roundTrips(func(i int) {
			if err := redigolock.SetNXVerified(context.Background(), c, fmt.Sprint("ours", i), "token", articleTTL); err != nil {
				t.Fatal(err)
			}
		})
		if got != n {
			t.Errorf("%d acquires took %d round trips, want 1 each", n, got)
		}
	})
}
