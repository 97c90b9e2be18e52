package peers_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
	"github.com/redigolock/redigolock/internal/redistest"
)

// open makes a rival whose locks expire in a minute, until the end of the test.
func open(t *testing.T, kind bench.RivalKind, s *bench.Server) bench.Rival {
	t.Helper()
	r, err := kind.Open(bench.RivalConfig{Server: s, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// withServers says that the rivals with a server of another kind, etcd and ZooKeeper, are tested, too: they must be
// installed, and take seconds to start.
var withServers = os.Getenv("REDIGOLOCK_PEERS") == "1"

// kinds are the rivals on Redis, and with REDIGOLOCK_PEERS=1 all.
func kinds(t *testing.T) []bench.RivalKind {
	t.Helper()
	var list []bench.RivalKind
	for _, kind := range peers.Kinds() {
		if kind.Ready != nil {
			if !withServers {
				continue
			}
			if err := kind.Ready(); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, kind)
	}
	return list
}

// onRedis stands for the rivals on Redis, of all of which there must be no key. Sessions have something until they are closed.
var onRedis bench.RivalKind

// losses remove a lock under its holder, by server.
var losses = map[string]func(t *testing.T, r *redistest.Server, key string){
	"": func(t *testing.T, r *redistest.Server, key string) {
		if _, err := r.Do("DEL", key, "rueidislock:0:"+key); err != nil {
			t.Fatal(err)
		}
	},
	"zookeeper": func(t *testing.T, _ *redistest.Server, key string) {
		c := dialZookeeper(t)
		children, _, err := c.Children("/" + key)
		for _, child := range children {
			err = errors.Join(err, c.Delete("/"+key+"/"+child, -1))
		}
		if err != nil {
			t.Fatal(err)
		}
	},
}

// Each rival sends what it is measured for, on both transports, and leaves nothing.
func TestEachRivalAcquiresAndReleases(t *testing.T) {
	s, r := server(t)
	onSocket, err := bench.Open(context.Background(), "unix://"+r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(onSocket.Close)
	for _, s := range []*bench.Server{s, onSocket} {
		for _, kind := range kinds(t) {
			u := bench.Uncontended{Server: s, Approach: kind.Name, Goroutines: 4, Time: 50 * time.Millisecond}
			before, err := r.Calls()
			if err != nil {
				t.Fatal(err)
			}
			res, err := u.Run(context.Background())
			if err != nil {
				t.Fatalf("%s: %v", u.Name(), err)
			}
			after, err := r.Calls()
			if err != nil {
				t.Fatal(err)
			}
			if res.Ops < 4 || res.Latency.TotalCount() != res.Ops || res.CPU.Client <= 0 || res.CPU.Server < 0 {
				t.Errorf("%s: %d ops, %d in the histogram, %+v", u.Name(), res.Ops, res.Latency.TotalCount(), *res.CPU)
			}
			n := after["set"] - before["set"] + after["setnx"] - before["setnx"]
			if kind.Server == "" && (n < res.Ops+4 || n > res.Ops+8) { // 4 to warm up
				t.Errorf("%s: %d SET and SETNX for %d ops", u.Name(), n, res.Ops)
			}
			wantNothing(t, kind, r)
		}
	}
}

// What contends is excluded, which bench checks over both processes; what arrives at a rate is served, with keys of its own and
// with one that all want; and what a dead holder had is taken over.
func TestEachRivalExcludesServesALoadAndRecovers(t *testing.T) {
	t.Parallel()
	s, r := server(t)
	t.Run("rivals", func(t *testing.T) {
		for _, kind := range kinds(t) {
			t.Run(kind.Name, func(t *testing.T) {
				t.Parallel()
				excludesServesAndRecovers(t, kind, s, r)
			})
		}
	})
	wantNothing(t, onRedis, r)
}

func excludesServesAndRecovers(t *testing.T, kind bench.RivalKind, s *bench.Server, r *redistest.Server) {
	u := bench.Uncontended{Server: s, Approach: kind.Name, Goroutines: 8, Time: time.Second}
	ttl := 2 * time.Second // in less, a lock may end because the machine is busy
	if kind.Server != "" {
		ttl = 3 * time.Second // or a session
	}
	list := []bench.Workload{bench.Load{Of: u, Rate: 200}}
	if !kind.OneTry {
		list = append(list, bench.Load{Of: u, Rate: 200, Keys: "hot"},
			bench.Contention{Server: s, Way: kind.Name, Waiters: 4, Processes: 2},
			bench.Recovery{Server: s, Way: kind.Name, TTL: ttl})
	}
	for i, w := range list {
		res, err := w.Run(context.Background())
		if err != nil {
			t.Errorf("%s: %v", w.Name(), err)
		} else if res.Ops < 1 || res.CPU != nil && (res.CPU.Client <= 0 || res.CPU.Server < 0) {
			t.Errorf("%s: %d ops, %+v", w.Name(), res.Ops, res.CPU)
		}
		if kind.Server != "" && i < len(list)-1 { // what dies leaves its session for a while, and its nodes
			wantNothing(t, kind, r)
		}
	}
}

// A rival must not be faster because it does not look at the replies.
func TestEachRivalFailsIfTheLockIsHeldOrLost(t *testing.T) {
	s, r := server(t)
	for _, kind := range kinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			holder, other := open(t, kind, s), open(t, kind, s)
			release, err := holder.TryAcquire("held")
			if err != nil {
				t.Fatal(err)
			}
			for who, r := range map[string]bench.Rival{"another process": other, "another goroutine": holder} {
				if kind.Name == "zookeeper" {
					continue // it waits
				}
				if _, err := r.TryAcquire("held"); err == nil {
					t.Errorf("the lock was held by %s, and it did not fail", who)
				}
			}
			if err := release(); err != nil {
				t.Fatal(err)
			}
			wantNothing(t, onRedis, r)
			lose, ok := losses[kind.Server]
			if !ok {
				return // its release does not tell
			}
			// rueidislock hears of the loss a moment later.
			for deadline := time.Now().Add(20 * time.Second); ; {
				release, err := holder.TryAcquire("lost")
				if err != nil {
					t.Fatal(err)
				}
				lose(t, r, "lost")
				if release() != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the key was deleted again and again, and it did not fail")
				}
			}
			wantNothing(t, onRedis, r)
		})
	}
}

// The wait of a rival ends with its context, which leaves the lock of another alone, and nothing behind.
func TestEachRivalWaitsUntilItsContextEnds(t *testing.T) {
	s, r := server(t)
	for _, kind := range kinds(t) {
		if kind.OneTry {
			continue
		}
		t.Run(kind.Name, func(t *testing.T) {
			holder, other := open(t, kind, s), open(t, kind, s)
			release, err := holder.TryAcquire("k")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := other.Acquire(ctx, "k"); err == nil || ctx.Err() == nil {
				t.Errorf("the wait for a lock that was held ended with %v", err)
			}
			if err := release(); err != nil {
				t.Error(err)
			}
			release, err = other.Acquire(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			if err := release(); err != nil {
				t.Error(err)
			}
			wantNothing(t, onRedis, r)
		})
	}
}
