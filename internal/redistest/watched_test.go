package redistest_test

import (
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestWatchedServersFailOver(t *testing.T) {
	start := time.Now()
	w := redistest.StartWatched(t, redistest.WatchedConfig{Password: "of-the-servers", SentinelPassword: "of-the-sentinels"})
	t.Logf("started in %v", time.Since(start))
	first := w.Servers[0]
	if w.Master() != first || w.Settled(t) != first {
		t.Fatal("the first server is not the master")
	}
	if _, err := first.Do("SET", "x", "1"); err != nil {
		t.Fatal(err)
	}
	if n, err := redis.Int(first.Do("WAIT", 2, 5000)); n != 2 {
		t.Fatalf("%d replicas follow, want 2 (%v)", n, err)
	}

	start = time.Now()
	first.Kill()
	eventually(t, "another is the master", func() bool { m := w.Master(); return m != nil && m != first })
	t.Logf("promoted after %v", time.Since(start))
	second := w.Settled(t)
	if v, err := redis.String(second.Do("GET", "x")); v != "1" {
		t.Errorf("after the failover x is %q, %v", v, err)
	}
	if err := first.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old master follows the new one", func() bool { return !first.IsMaster() })

	start = time.Now()
	w.Settled(t)
	w.PromoteAnother(t)
	if m := w.Master(); m == nil || m == second {
		t.Errorf("%v is the master", m)
	}
	t.Logf("failed over by command after %v", time.Since(start))
	start = time.Now()
	w.Settled(t)
	t.Logf("settled after %v", time.Since(start))
}

func TestStartMany(t *testing.T) {
	start := time.Now()
	servers := redistest.StartMany(t, 5)
	t.Logf("five servers in %v", time.Since(start))
	addrs := map[string]bool{}
	for _, s := range servers {
		reply, err := s.Do("PING")
		want(t, "PONG", reply, err)
		addrs[s.Addr()] = true
	}
	if len(addrs) != 5 {
		t.Errorf("five servers listen on %d addresses", len(addrs))
	}
}
