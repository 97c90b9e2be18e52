package bench_test

import (
	"context"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

// A bounded pool has as many connections as it says, all of them from before the clock started, and keeps them.
func TestBoundedPoolHasAllItsConnections(t *testing.T) {
	s, r := realServer(t)
	for range 2 {
		for _, approach := range []string{"floor", "locker"} {
			u := bench.Uncontended{Server: s, Approach: approach, PoolSize: 3, Goroutines: 16, Time: 4 * short}
			if _, err := u.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if stats := s.Bounded(3).Stats(); stats.ActiveCount != 3 || stats.IdleCount != 3 {
		t.Errorf("%+v", stats)
	}
	if n := s.Pool.Stats().ActiveCount; n != 0 {
		t.Errorf("the unbounded pool has %d connections", n)
	}
	connected := func() int {
		list, err := redis.String(r.Do("CLIENT", "LIST"))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range list {
			if c == '\n' {
				n++
			}
		}
		return n
	}
	if n := connected(); n > 6 { // 3, those that administer, and our asking
		t.Errorf("%d connections", n)
	}
	s.Close()
	eventually(t, "all are closed", func() bool { return connected() == 1 })
}

func TestServerOnAUnixSocketHasANameOfItsOwn(t *testing.T) {
	_, r := realServer(t)
	s, err := bench.Open(context.Background(), "unix://"+r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Name != "redis-unix" || s.Version != r.Version() {
		t.Errorf("%s, %s", s.Name, s.Version)
	}
	u := bench.Uncontended{Server: s, Approach: "floor", Goroutines: 4, Time: 4 * short}
	if res, err := u.Run(context.Background()); err != nil || res.Ops < 4 {
		t.Errorf("%d ops, %v", res.Ops, err)
	}
}
