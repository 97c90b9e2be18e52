package bench_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

// clusterServer is a Redis Cluster of three masters for one test.
func clusterServer(t *testing.T) (*bench.Server, *redistest.Cluster) {
	t.Helper()
	c := redistest.StartCluster(t, redistest.ClusterConfig{})
	s, err := bench.Open(context.Background(), c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

// keysOfAll are the keys of all masters.
func keysOfAll(t *testing.T, c *redistest.Cluster) (keys []string) {
	t.Helper()
	for _, s := range c.Servers {
		keys = append(keys, keysOf(t, s)...)
	}
	return keys
}

// Our own ways lock in a Cluster, from other processes too, at all of its masters, and leave no key.
func TestWorkloadsAtACluster(t *testing.T) {
	s, c := clusterServer(t)
	if s.Name != "redis-cluster" || !strings.HasPrefix(s.Version, "redis ") || !strings.HasSuffix(s.Version, ", a cluster of 3 masters") {
		t.Errorf("%s, %s", s.Name, s.Version)
	}
	list := []bench.Workload{
		bench.Uncontended{Server: s, Approach: "floor", Goroutines: 16},
		bench.Uncontended{Server: s, Approach: "setnx-verified", Release: "tx", Goroutines: 16},
		bench.Uncontended{Server: s, Approach: "locker", Goroutines: 16},
		bench.Uncontended{Server: s, Approach: "locker", Goroutines: 16, Lanes: 2},
		bench.Contention{Server: s, Way: "floor", Waiters: 4, Processes: 2, Time: 200 * time.Millisecond},
		bench.Contention{Server: s, Way: "polling", Waiters: 4, Processes: 2, Time: 200 * time.Millisecond},
		bench.Contention{Server: s, Way: "fair", Waiters: 4, Processes: 2, Lanes: 1, Time: 200 * time.Millisecond},
		bench.Load{Of: bench.Uncontended{Server: s, Approach: "locker", Goroutines: 8}, Rate: 500},
		bench.Load{Of: bench.Uncontended{Server: s, Approach: "fair", Goroutines: 8}, Keys: "zipf10000", Rate: 500},
		bench.Recovery{Server: s, Way: "fair"},
	}
	for _, w := range list {
		res, err := w.Run(context.Background())
		if err != nil || res.Ops < 1 {
			t.Fatalf("%s: %d ops, %v", w.Name(), res.Ops, err)
		}
		if !strings.Contains(w.Name(), "/server=redis-cluster/") {
			t.Error(w.Name())
		}
		if keys := keysOfAll(t, c); len(keys) > 0 {
			t.Errorf("%s left %q", w.Name(), keys)
		}
	}
}

// The cost is that of all masters, each of which has its share, and without our asking.
func TestCostAtAClusterIsThatOfAllMasters(t *testing.T) {
	s, c := clusterServer(t)
	u := bench.Uncontended{Server: s, Approach: "setnx-get", Goroutines: 64, Time: 200 * time.Millisecond}
	res, err := u.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// SET, EVALSHA, and GET and DEL in its script; a NOSCRIPT and what was not yet counted at either end are the rest.
	if calls := float64(res.Cost.Calls) / float64(res.Ops); calls < 3.5 || calls > 4.5 {
		t.Errorf("%v commands an op", calls)
	}
	if res.CPU.Server <= 0 || res.Cost.Bytes <= 0 || res.Cost.Reads < res.Ops {
		t.Errorf("%+v, %+v", *res.CPU, *res.Cost)
	}
	for _, master := range c.Servers {
		if n, err := master.Calls(); err != nil || n["set"] < res.Ops/10 {
			t.Errorf("%s has had %d SETs of %d, %v", master.Addr(), n["set"], res.Ops, err)
		}
	}
	if cost := s.CostOf(func() {}); cost.Calls != 0 || cost.Reads != 0 || cost.Bytes != 0 {
		t.Errorf("nothing costs %+v", cost)
	}
}

func TestWhatIsMeasuredAtOneServerIsRefusedAtACluster(t *testing.T) {
	s, _ := clusterServer(t)
	addRival(t, bench.RivalKind{Name: "single", Open: openNothing})
	for _, w := range []bench.Workload{
		bench.Verb{Server: s, Verb: "SetNX"}, bench.KeepAlive{Server: s, Way: "locker"},
		bench.Uncontended{Server: s, Approach: "single"}, bench.Contention{Server: s, Way: "single"},
		bench.Uncontended{Server: s, Approach: "locker", PoolSize: 4},
	} {
		if _, err := w.Run(context.Background()); !errors.Is(err, bench.ErrConfig) {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
	if _, err := s.Behind(context.Background(), time.Millisecond); !errors.Is(err, bench.ErrConfig) {
		t.Error(err)
	}
}

// Keys at a master that came later are not removed, which is told.
func TestAClusterThatHasAnotherMasterThanBefore(t *testing.T) {
	c := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	s, err := bench.Open(context.Background(), c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	slot := 0
	replica := c.ReplicaOf(c.Owner(slot))
	if err := c.Failover(replica); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica is the master", func() bool { return c.Owner(slot) == replica })
	c.Settled(t)
	_, err = bench.Uncontended{Server: s, Approach: "locker", Goroutines: 64}.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "remove the keys of a run: the cluster has other masters") {
		t.Error(err)
	}
}

// A URL of nodes that are gone, or of none, is told without its password.
func TestAClusterThatCannotBeReached(t *testing.T) {
	_, err := bench.Open(context.Background(), "redis-cluster://:"+secret+"@127.0.0.1:1,127.0.0.1:2")
	if !errors.Is(err, bench.ErrUnreachable) || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
	if got := bench.WithoutUser("redis-cluster://u:" + secret + "@h1,h2:7"); got != "redis-cluster://h1,h2:7" {
		t.Error(got)
	}
}

func TestAClusterCanBeStarted(t *testing.T) {
	s, err := bench.OpenLocalCluster(context.Background())
	if errors.Is(err, bench.ErrNoLocal) {
		realServer(t) // skips or fails as all others
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Started() || s.Embedded() || slices.Contains([]string{"", s.URL}, strings.TrimPrefix(s.URL, "redis-cluster://")) {
		t.Errorf("%+v", s)
	}
}
