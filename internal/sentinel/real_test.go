package sentinel_test

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sentinel"
)

// TestRealSentinels loses a master in three ways: killed and come back as a replica, replaced by command, and stopped, so that
// it still takes connections. Each time the connections to it must be cut, and a dial must lead to the new one.
func TestRealSentinels(t *testing.T) {
	w := redistest.StartWatched(t, redistest.WatchedConfig{Password: "pw-master", SentinelPassword: "pw-sentinel"})
	dial := func(password string) func(context.Context, string) (redis.Conn, error) {
		return func(ctx context.Context, addr string) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", addr, redis.DialPassword(password), redis.DialReadTimeout(3*time.Second))
		}
	}
	g := sentinel.New(sentinel.Env{Addrs: w.Addrs(), Master: redistest.MasterName, Watch: true,
		Dial: dial("pw-master"), DialSentinel: dial("pw-sentinel")})
	defer g.Close()

	for _, how := range []struct {
		name string
		fail func(old *redistest.Server)
		mend func(old *redistest.Server) error
	}{
		{"kill", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"command", func(*redistest.Server) { w.PromoteAnother(t) }, func(*redistest.Server) error { return nil }},
		{"stop", (*redistest.Server).Pause, func(old *redistest.Server) error { old.Resume(); return nil }},
	} {
		old := w.Settled(t)
		c, err := g.Dial(bg)
		if err != nil {
			t.Fatal(err)
		}
		waits := make(chan error)
		go func() {
			_, err := redis.DoWithTimeout(c, 20*time.Second, "BLPOP", "nothing", 0)
			waits <- err
		}()
		begin := time.Now()
		how.fail(old)
		if err := <-waits; err == nil {
			t.Errorf("%s: a reply of the old master", how.name)
		}
		var fresh redis.Conn
		for fresh == nil {
			if fresh, err = g.Dial(bg); err != nil && time.Since(begin) > 20*time.Second {
				t.Fatal(how.name, err)
			}
		}
		t.Logf("%s: dialled %v later", how.name, time.Since(begin))
		if _, err := fresh.Do("SET", "x", how.name); err != nil {
			t.Errorf("%s: %v", how.name, err)
		}
		if how.name != "kill" && sentinel.Current(c) == nil { // a dead one may be noticed by its broken connection alone
			t.Errorf("%s: a connection to the old master would be lent", how.name)
		}
		fresh.Close()
		c.Close()
		if err := how.mend(old); err != nil {
			t.Fatal(err)
		}
		if w.Settled(t) == old {
			t.Fatalf("%s: the master is the same", how.name)
		}
	}
}
