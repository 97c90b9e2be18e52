package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// failOver has node 0 die, and a replica without slots, which has this data, take over from it a while later. All nodes that live know it.
func failOver(servers *sim.Cluster, replica int, has *sim.Copy) {
	servers.Nodes[0].RefuseDials()
	servers.Nodes[0].Cut()
	time.Sleep(15 * time.Second)
	servers.TakeOver(0, replica, has, func(_, _ *sim.Copy) {})
	servers.Tell()
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
				begin := time.Now()
				next, err := lockers[1].Acquire(bg, key, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(begin)
				t.Logf("the next lock after %v", took)
				if took > 2*time.Second {
					t.Errorf("the next lock came %v after the replica had taken over", took)
				}
				if err := next.Release(bg); err != nil {
					t.Error(err)
				}
			})
		})
	}
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
