package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// TestRealCluster uses every verb of a Locker, for keys of all nodes, by a Cluster that knows one of them.
func TestRealCluster(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	c := &lock.Cluster{Addrs: servers.Addrs()[:1]}
	defer c.Close()
	l := &lock.Locker{Pool: c}
	defer l.Close()
	for i := range 30 {
		key := fmt.Sprint("key", i)
		k, err := l.TryAcquire(bg, key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		ctx := k.KeepAlive(bg)
		if err := errors.Join(k.Verify(bg), k.Extend(bg, time.Hour)); err != nil {
			t.Error(err)
		}
		if _, err := k.Fence(bg); err != nil {
			t.Error(err)
		}
		if _, err := l.TryAcquire(bg, key, time.Minute); !errors.Is(err, lock.ErrHeld) {
			t.Error(err)
		}
		if ctx.Err() != nil {
			t.Error(context.Cause(ctx))
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	}
	if n := lock.ClusterCounts(c); n.Moved+n.Asked != 0 || n.Refreshes != 1 {
		t.Errorf("%+v", n)
	}
}

// A clusterLoad is workers that acquire and release locks in turn, through several Lockers over one Cluster.
type clusterLoad struct {
	t       *testing.T
	c       *lock.Cluster
	keys    []string
	holders []atomic.Pointer[lock.Lock] // of the keys
	stop    chan struct{}
	workers sync.WaitGroup

	mu       sync.Mutex // protects what follows
	locks    int
	errs     map[string]int // of releases
	ends     []time.Time    // of acquires of keys[0]
	overlaps []*lock.Lock
}

func startClusterLoad(t *testing.T, c *lock.Cluster, workers int, keys ...string) *clusterLoad {
	load := &clusterLoad{t: t, c: c, keys: keys, holders: make([]atomic.Pointer[lock.Lock], len(keys)), stop: make(chan struct{}), errs: map[string]int{}}
	var lockers []*lock.Locker
	for range 4 {
		l := &lock.Locker{Pool: c}
		t.Cleanup(func() { l.Close() })
		lockers = append(lockers, l)
	}
	for i := range workers {
		load.workers.Go(func() {
			for n := i; ; n++ {
				select {
				case <-load.stop:
					return
				default:
					load.cycle(lockers[i%len(lockers)], n%len(keys))
				}
			}
		})
	}
	return load
}

// cycle acquires and releases one lock. No error of the acquire is allowed.
func (load *clusterLoad) cycle(l *lock.Locker, i int) {
	ctx, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	k, err := l.Acquire(ctx, load.keys[i], 10*time.Second)
	if err != nil {
		load.t.Errorf("acquire %s: %v", load.keys[i], err)
		return
	}
	if !load.holders[i].CompareAndSwap(nil, k) {
		load.mu.Lock()
		load.overlaps = append(load.overlaps, load.holders[i].Swap(k))
		load.mu.Unlock()
	}
	time.Sleep(time.Millisecond)
	load.holders[i].CompareAndSwap(k, nil)
	err = k.Release(bg)
	load.mu.Lock()
	defer load.mu.Unlock()
	load.locks++
	if i == 0 {
		load.ends = append(load.ends, time.Now())
	}
	for _, kind := range []error{lock.ErrUnknown, lock.ErrUnavailable, lock.ErrNotHeld, err} {
		if errors.Is(err, kind) {
			if err != nil {
				load.errs[kind.Error()]++
			}
			break
		}
	}
}

// since returns how long after then the first lock of keys[0] was released.
func (load *clusterLoad) since(then time.Time) time.Duration {
	load.mu.Lock()
	defer load.mu.Unlock()
	for _, end := range load.ends {
		if end.After(then) {
			return end.Sub(then)
		}
	}
	return 0
}

// end stops the workers, and wants no overlap.
func (load *clusterLoad) end() {
	close(load.stop)
	load.workers.Wait()
	load.t.Logf("%d locks, errors of releases: %v, %+v", load.locks, load.errs, lock.ClusterCounts(load.c))
	for _, k := range load.overlaps {
		load.t.Errorf("%v had two holders", k)
	}
}

// clusterTime is short, or long.
func clusterTime(short, long time.Duration) time.Duration {
	if os.Getenv("REDIGOLOCK_LONG") != "" {
		return long
	}
	return short
}

// TestClusterMovesSlots moves a slot to and fro, with pauses while its keys are at both nodes.
func TestClusterMovesSlots(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	c := &lock.Cluster{Addrs: servers.Addrs()}
	defer c.Close()
	keys := []string{"{moves}0", "{moves}1", "{moves}2", "other"}
	slot := servers.KeySlot(keys[0])
	load := startClusterLoad(t, c, 64, keys...)
	var next []time.Duration
	for begin := time.Now(); time.Since(begin) < clusterTime(3*time.Second, time.Minute); {
		from := servers.Owner(slot)
		to := servers.Servers[0]
		if from == to {
			to = servers.Servers[1]
		}
		if err := servers.BeginMigration(slot, from, to); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			time.Sleep(10 * time.Millisecond)
			if err := servers.MoveKeys(slot, from, to); err != nil {
				t.Fatal(err)
			}
		}
		for {
			if err := servers.MoveKeys(slot, from, to); err != nil {
				t.Fatal(err)
			}
			if err := servers.EndMigration(slot, from, to); err == nil {
				break
			}
		}
		ended := time.Now()
		time.Sleep(100 * time.Millisecond)
		next = append(next, load.since(ended))
	}
	load.end()
	n := lock.ClusterCounts(c)
	if n.Moved == 0 || n.Asked == 0 || load.locks == 0 {
		t.Errorf("%+v, %d locks", n, load.locks)
	}
	slices.Sort(next)
	t.Logf("%d moves; the next release after: median %v, worst %v", len(next), next[len(next)/2], next[len(next)-1])
}

// TestClusterLosesMaster kills a master under load. Its replica takes over.
func TestClusterLosesMaster(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	c := &lock.Cluster{Addrs: servers.Addrs()[:3]}
	defer c.Close()
	keys := []string{"k0", "k1", "k2", "k3", "k4"}
	slot := servers.KeySlot(keys[0])
	load := startClusterLoad(t, c, 16, keys...)
	var next []time.Duration
	for range clusterTime(1, 20) {
		master := servers.Owner(slot)
		replica := servers.ReplicaOf(master)
		time.Sleep(500 * time.Millisecond)
		master.Kill()
		killed := time.Now()
		for servers.Owner(slot) != replica {
			if time.Since(killed) > 30*time.Second {
				t.Fatal("the replica does not take over")
			}
			time.Sleep(time.Millisecond)
		}
		served := time.Now()
		for load.since(served) == 0 && time.Since(served) < 30*time.Second {
			time.Sleep(time.Millisecond)
		}
		next = append(next, load.since(served))
		if err := master.Restart(); err != nil {
			t.Fatal(err)
		}
		servers.Settled(t)
	}
	load.end()
	slices.Sort(next)
	t.Logf("the next release after the slot was served again: median %v, worst %v", next[len(next)/2], next[len(next)-1])
}

// TestClusterRemovesNode takes all slots from a node under load, has the others forget it, and stops it.
func TestClusterRemovesNode(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	c := &lock.Cluster{Addrs: servers.Addrs()}
	defer c.Close()
	keys := []string{"k0", "k1", "k2", "k3", "k4"}
	removed := servers.Owner(servers.KeySlot(keys[0]))
	stays := servers.Servers[0]
	if stays == removed {
		stays = servers.Servers[1]
	}
	load := startClusterLoad(t, c, 16, keys...)
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
	removed.Kill()
	gone := time.Now()
	time.Sleep(time.Second)
	load.end()
	if load.since(gone) == 0 {
		t.Error("no lock of a key that was there")
	}
	if n := lock.ClusterCounts(c); n.Moved == 0 {
		t.Errorf("%+v", n)
	}
}
