package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// TestClusterMovesSlots moves a slot to and fro, with pauses while its keys are at both nodes.
func TestClusterMovesSlots(t *testing.T) {
	n := movesSlots(t, "moves", redistest.StartCluster(t, redistest.ClusterConfig{}), func(c *redistest.Cluster, slot int, from, to *redistest.Server) error {
		err := c.BeginMigration(slot, from, to)
		for range 5 {
			time.Sleep(10 * time.Millisecond)
			err = errors.Join(err, c.MoveKeys(slot, from, to))
		}
		for err == nil {
			if err = c.MoveKeys(slot, from, to); c.EndMigration(slot, from, to) == nil {
				break
			}
		}
		return err
	})
	if n.moved == 0 || n.asked == 0 {
		t.Errorf("%+v", n)
	}
}

// TestClusterMovesSlotsAtOnce is the same by CLUSTER MIGRATESLOTS.
func TestClusterMovesSlotsAtOnce(t *testing.T) {
	redistest.UseNewer(t, "valkey")
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	if n := movesSlots(t, "moves-at-once", servers, (*redistest.Cluster).MigrateAtOnce); n.moved == 0 {
		t.Errorf("%+v", n)
	}
}

// movesSlots moves a slot to and fro under load. No acquire may fail, and no two hold a lock.
func movesSlots(t *testing.T, name string, servers *redistest.Cluster, move func(c *redistest.Cluster, slot int, from, to *redistest.Server) error) redirected {
	before := redirections(t, servers)
	slot := servers.KeySlot("{moves}")
	loads := startLoads(t, servers, "moves")
	for begin := time.Now(); time.Since(begin) < testbed.Length(2*time.Second, time.Minute); {
		from := servers.Owner(slot)
		if err := move(servers, slot, from, otherMaster(servers, from)); err != nil {
			t.Fatal(err)
		}
		awaitNext(loads, time.Now())
	}
	endAll(t, loads, false)
	table(t, name, tableNext, loads)
	n := before.since(t, servers)
	t.Logf("%+v", n)
	return n
}

// awaitNext waits until each load has released a lock of the slot after a change.
func awaitNext(loads []*load, changed time.Time) {
	var all sync.WaitGroup
	for _, l := range loads {
		all.Go(func() { l.awaitNext(changed) })
	}
	all.Wait()
}

// endAll ends the loads. Unless the servers may have lost locks, no lock had two holders.
func endAll(t *testing.T, loads []*load, mayLose bool) {
	t.Helper()
	for _, l := range loads {
		l.end()
		if l.overlaps > 0 && !mayLose {
			t.Errorf("%s: %d locks had two holders", l.kind, l.overlaps)
		}
	}
}

// TestClusterLosesMaster kills a master under load, and its replica takes over, again and again. The replica may not have heard of a
// lock by then; what the locks protect is safe by the fence.
func TestClusterLosesMaster(t *testing.T) {
	testbed.Slow(t)
	servers := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	slot := servers.KeySlot("{kill}")
	loads := startLoads(t, servers, "kill")
	for range testbed.Length(1, 20) {
		time.Sleep(500 * time.Millisecond)
		master := servers.Owner(slot)
		replica := servers.ReplicaOf(master)
		master.Kill()
		awaitServed(t, replica, "{kill}served")
		awaitNext(loads, time.Now())
		if err := master.Restart(); err != nil {
			t.Fatal(err)
		}
		servers.Settled(t)
	}
	endAll(t, loads, true)
	table(t, "kill", tableNext, loads)
}

// awaitServed waits until a replica has taken over, and carries out commands for the key.
func awaitServed(t *testing.T, replica *redistest.Server, key string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := replica.Do("SET", key, "served")
		switch {
		case err == nil:
			return
		case time.Since(begin) > 30*time.Second:
			t.Fatalf("the replica does not take over: %v", err)
		}
	}
}

// TestClusterRemovesNode takes all slots from a node under load, has the others forget it, and stops it.
func TestClusterRemovesNode(t *testing.T) {
	testbed.Slow(t)
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	removed := servers.Owner(servers.KeySlot("{removed}"))
	stays := otherMaster(servers, removed)
	loads := startLoads(t, servers, "removed")
	for slot, owner := range servers.Owners() {
		if owner != removed {
			continue
		}
		if err := servers.Migrate(slot, removed, stays); err != nil {
			t.Fatal(err)
		}
	}
	servers.Settled(t)
	for _, s := range servers.Servers {
		if s != removed {
			if _, err := s.Do("CLUSTER", "FORGET", servers.ID(removed)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := redirections(t, servers)
	removed.Kill()
	awaitNext(loads, time.Now())
	time.Sleep(testbed.Length(time.Second, 3*time.Second))
	endAll(t, loads, false)
	table(t, "removed", tableNext, loads)
	if n.moved == 0 {
		t.Errorf("%+v", n)
	}
}

// A master that dies before its replica has heard of a lock takes the lock along. The holder that is left learns it by ErrLost, no later
// than its Deadline, and until then by the fence at what the lock protects.
func TestClusterFailoverLosesLock(t *testing.T) {
	testbed.Slow(t)
	for kind := range clusterKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			losesLock(t, kind)
		})
	}
}

func losesLock(t *testing.T, kind string) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	protected := redistest.Start(t).Pool().Get()
	defer protected.Close()
	pool := &lock.Cluster{Addrs: servers.Addrs()}
	t.Cleanup(func() { pool.Close() })
	first, second := clusterKinds[kind](t, pool), clusterKinds[kind](t, pool)
	t.Cleanup(func() { first.Close(); second.Close() })
	slot := servers.KeySlot("key")
	master := servers.Owner(slot)
	replica := servers.ReplicaOf(master)
	replica.Pause()
	if _, err := master.Do("CLIENT", "KILL", "TYPE", "REPLICA"); err != nil {
		t.Fatal(err)
	}
	const ttl = 6 * time.Second
	k, err := first.Acquire(bg, "key", ttl)
	if err != nil {
		t.Fatal(err)
	}
	kept := k.KeepAlive(bg)
	stale, err := k.Fence(bg)
	if err != nil {
		t.Fatal(err)
	}
	master.Kill()
	replica.Resume()
	awaitServed(t, replica, "{key}served")

	ctx, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	begin := time.Now()
	next, err := second.Acquire(ctx, "key", ttl)
	if err != nil {
		t.Fatal(err)
	}
	fence, err := next.Fence(bg)
	if err != nil || fence <= stale {
		t.Errorf("fence %d after %d: %v", fence, stale, err)
	}
	write := func(fence int64) error {
		_, err := redis.String(lock.GuardDo(bg, protected, "guard", fence, "SET", "protected", fence))
		return err
	}
	t.Logf("the next holder after %v; the first still believes that it holds: %v", time.Since(begin), k.Valid())
	if err := write(fence); err != nil {
		t.Error(err)
	}
	if err := write(stale); !errors.Is(err, lock.ErrFenced) {
		t.Errorf("the holder that has lost the lock writes: %v", err)
	}
	select {
	case <-kept.Done():
	case <-time.After(time.Until(k.Deadline()) + slack):
		t.Error("the lock is not lost by its Deadline")
	}
	t.Logf("lost %v after the failover", time.Since(begin))
	if err := context.Cause(kept); !errors.Is(err, lock.ErrLost) {
		t.Errorf("KeepAlive ended with %v", err)
	}
	if k.Valid() {
		t.Error("a lock that is lost is valid")
	}
	if err := k.Release(bg); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("Release of a lock that is lost: %v", err)
	}
	if err := next.Release(bg); err != nil {
		t.Error(err)
	}
}
