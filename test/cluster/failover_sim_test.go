package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// failOver has node 0 die, and a replica without slots, which has this data, take over from it a while later. All nodes that live know it.
func failOver(servers *sim.Cluster, replica int, has *sim.Copy) {
	servers.Nodes[0].RefuseDials()
	servers.Nodes[0].Cut()
	time.Sleep(15 * time.Second)
	servers.TakeOver(0, replica, has, func(_, _ *sim.Copy) {})
	servers.Tell()
}

// locksSoon has the next lock be there soon after a replica has taken over.
func locksSoon(t *testing.T, l *lock.Locker, key string) {
	t.Helper()
	begin := time.Now()
	k, err := l.Acquire(bg, key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the next lock came %v after the replica had taken over", took)
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
}

// A failover undoes a Release that the replica has not heard of. The Locker releases the lock again at the replica, as soon as it knows of
// it, and those who wait get it.
func TestClusterFailoverUndoesARelease(t *testing.T) {
	for kind := range clusterKinds {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := sim.NewCluster(t, 2)
				replica := servers.Join(t)
				servers.Tell()
				pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
				t.Cleanup(func() { pool.Close() })
				var lockers []*lock.Locker
				for range 2 {
					l := clusterKinds[kind](t, pool)
					t.Cleanup(func() { l.Close() })
					lockers = append(lockers, l)
				}
				key := keyAt(t, servers, 0)
				k, err := lockers[0].Acquire(bg, key, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				has := servers.Nodes[0].Copy()
				if err := k.Release(bg); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				failOver(servers, replica, has)
				if token, _ := has.Get(key); token != k.Token() {
					t.Fatalf("the replica has %q: this test proves nothing", token)
				}
				locksSoon(t, lockers[1], key)
			})
		})
	}
}

// The slot has moved, which the Release is told. What it has released is remembered of the node that has answered it.
func TestClusterFailoverUndoesAReleaseThatWasRedirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := sim.NewCluster(t, 2)
		replica := servers.Join(t)
		servers.Tell()
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
		t.Cleanup(func() { pool.Close() })
		l := &lock.Locker{Pool: pool}
		t.Cleanup(func() { l.Close() })
		key := keyAt(t, servers, 1)
		k, err := l.Acquire(bg, key, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := servers.End(key, 0); err != nil {
			t.Fatal(err)
		}
		servers.Tell()
		has := servers.Nodes[0].Copy()
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		failOver(servers, replica, has)
		locksSoon(t, l, key)
	})
}

// A clean-up of many locks at one node takes one connection to it.
func TestClusterCleansUpANodeByOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := sim.NewCluster(t, 2)
		replica := servers.Join(t)
		servers.Tell()
		var dials atomic.Int64 // of the replica
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: func(ctx context.Context, addr string) (redis.Conn, error) {
			if addr == servers.Addr(replica) {
				dials.Add(1)
			}
			return servers.DialRedis(ctx, addr)
		}}
		t.Cleanup(func() { pool.Close() })
		l := &lock.Locker{Pool: pool}
		t.Cleanup(func() { l.Close() })
		const many = 100
		var locks []*lock.Lock
		for i := range many {
			k, err := l.Acquire(bg, fmt.Sprintf("{%s}%d", keyAt(t, servers, 0), i), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			locks = append(locks, k)
		}
		has := servers.Nodes[0].Copy()
		for _, k := range locks {
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
		}
		failOver(servers, replica, has)
		ctx, cancel := context.WithTimeout(bg, 5*time.Second)
		defer cancel()
		if _, err := l.Acquire(ctx, locks[0].Key(), time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, k := range locks {
			if got, _ := servers.Nodes[replica].Miniredis().Get(k.Key()); got == k.Token() {
				t.Fatalf("%s was not released again", k.Key())
			}
		}
		if n := dials.Load(); n > 5 { // the map, the waiter and the clean-up
			t.Errorf("%d connections", n)
		}
	})
}

// What a failover, or a restart, does to locks that are kept alive is known as soon as the Cluster knows of it, whatever their ttl: one
// that is lost ends with ErrLost, and all others go on. A slot that moves has nothing renewed.
func TestClusterKeptLocksAfterAFailover(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, servers *sim.Cluster, replica int, has *sim.Copy){
		"failover": func(_ *testing.T, servers *sim.Cluster, replica int, has *sim.Copy) { failOver(servers, replica, has) },
		"restart": func(t *testing.T, servers *sim.Cluster, _ int, _ *sim.Copy) {
			accept := servers.Nodes[0].RefuseDials()
			servers.Nodes[0].Cut()
			time.Sleep(time.Second)
			if _, err := servers.Nodes[0].Do("DEL", keyAt(t, servers, 0)+"{"+keyAt(t, servers, 0)+"}"); err != nil {
				t.Error(err)
			}
			accept()
		},
		"move": func(t *testing.T, servers *sim.Cluster, _ int, _ *sim.Copy) {
			if err := servers.End(keyAt(t, servers, 0), 1); err != nil {
				t.Error(err)
			}
		},
	} {
		for kind := range clusterKinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { keptThrough(t, kind, name, change) })
			})
		}
	}
}

func keptThrough(t *testing.T, kind, name string, change func(t *testing.T, servers *sim.Cluster, replica int, has *sim.Copy)) {
	servers := sim.NewCluster(t, 2)
	replica := servers.Join(t)
	servers.Tell()
	pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
	t.Cleanup(func() { pool.Close() })
	l := clusterKinds[kind](t, pool)
	t.Cleanup(func() { l.Close() })
	keep := func(key string) context.Context {
		t.Helper()
		k, err := l.Acquire(bg, key, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return k.KeepAlive(bg)
	}
	key := keyAt(t, servers, 0)
	stays, other := keep(key), keep(keyAt(t, servers, 1))
	has := servers.Nodes[0].Copy()
	lost := keep(key + "{" + key + "}") // in the same slot
	time.Sleep(time.Second)
	change(t, servers, replica, has)
	ctx, cancel := context.WithTimeout(bg, 5*time.Second)
	defer cancel()
	if k, err := l.Acquire(ctx, "{"+key+"}next", time.Hour); err != nil || k.Release(bg) != nil { // who uses the Cluster finds it out
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	wantLost, wantRenewals := name != "move", 2 // at the node
	if !wantLost {
		wantRenewals = 0
	}
	if isLost := errors.Is(context.Cause(lost), lock.ErrLost); isLost != wantLost {
		t.Errorf("the lock that the node does not have any more: %v", context.Cause(lost))
	}
	if stays.Err() != nil || other.Err() != nil {
		t.Errorf("others: %v, %v", context.Cause(stays), context.Cause(other))
	}
	if keys := renewedKeys(servers); len(keys) != wantRenewals {
		t.Errorf("renewed were %v, want %d", keys, wantRenewals)
	}
}

// renewedKeys are the keys whose renewal has come to a node.
func renewedKeys(servers *sim.Cluster) map[string]bool {
	keys := map[string]bool{}
	for _, s := range servers.Nodes {
		for _, r := range s.Requests() {
			if r.Name != "EVALSHA" {
				continue
			}
			if verb := testbed.ScriptNames[any(r.Args[0])]; verb == "extend" || verb == "fairextend" {
				keys[r.Args[2]] = true
			}
		}
	}
	return keys
}

// keyAt is a key that a node has.
func keyAt(t *testing.T, servers *sim.Cluster, node int) string {
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if servers.Owner(key) == node {
			return key
		}
	}
	t.Fatalf("no key is at node %d", node)
	return ""
}
