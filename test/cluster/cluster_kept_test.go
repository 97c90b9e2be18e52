package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// TestClusterKeepsLocksAlive keeps locks alive while a slot of theirs moves, half-way and then as a whole, while a replica takes its
// master's place, and while a master hangs, over each kind of pool, and votes of a Quorum, too. Nothing is lost but what the master
// that hangs has. It waits for ttls in real time, as what a cluster answers meanwhile is its subject.
func TestClusterKeepsLocksAlive(t *testing.T) {
	testbed.Slow(t)
	servers := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1, Args: []string{"--cluster-require-full-coverage", "no"}})
	single := redistest.Start(t)
	c := &lock.Cluster{Addrs: servers.Addrs()[:1]}
	defer c.Close()
	kept := &keptLocks{T: t, renewals: map[string]int{}}
	for kind, open := range clusterKinds {
		l := open(t, c)
		l.Observer = kept.observer()
		defer l.Close()
		kept.keep(kind, l.Acquire)
	}
	q := &lock.Quorum{Pools: []lock.Pool{c, single.Pool()}, OpTimeout: time.Second, Observer: kept.observer()}
	defer q.Close()
	kept.keep("Quorum", q.Acquire)
	before := redirections(t, servers)
	kept.renewed("at rest")

	slot := servers.KeySlot("{moves}")
	from := servers.Owner(slot)
	to := otherMaster(servers, from)
	kept.ok(servers.BeginMigration(slot, from, to))
	kept.ok(servers.MoveKeys(slot, from, to))
	kept.renewed("while the slot moves: ASK")
	kept.ok(servers.EndMigration(slot, from, to))
	kept.renewed("the slot has moved: MOVED")
	if n := before.since(t, servers); n.moved == 0 || n.asked == 0 {
		t.Errorf("%+v", n)
	}

	replica := servers.ReplicaOf(to)
	kept.ok(servers.Failover(replica))
	eventually(t, "the replica takes over", func() bool { return servers.Owner(slot) == replica })
	kept.renewed("a replica has taken over")

	servers.Settled(t)
	owners := servers.Owners()
	ill := func(k *lock.Lock) bool { return owners[servers.KeySlot(k.Key())] == replica }
	replica.Pause()
	time.Sleep(keptTTL / 2)
	kept.renewed("a master hangs", ill)
	replica.Resume()
}

const keptTTL = 2 * time.Second

// keptLocks are locks that are kept alive.
type keptLocks struct {
	*testing.T
	locks []*lock.Lock
	ctxs  []context.Context

	mu       sync.Mutex // protects renewals
	renewals map[string]int
}

func (x *keptLocks) ok(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *keptLocks) observer() *lock.Observer {
	return &lock.Observer{Extended: func(_ context.Context, k *lock.Lock, _ time.Duration) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.renewals[k.Key()]++
	}}
}

// keep acquires locks of one slot, and of others.
func (x *keptLocks) keep(kind string, acquire func(context.Context, string, time.Duration) (*lock.Lock, error)) {
	for i := range 16 {
		key := fmt.Sprint(kind, i)
		if i < 4 {
			key = "{moves}" + key
		}
		k, err := acquire(x.Context(), key, keptTTL)
		x.ok(err)
		x.locks, x.ctxs = append(x.locks, k), append(x.ctxs, k.KeepAlive(bg))
		x.Cleanup(func() { _ = k.Release(bg) })
	}
}

// renewed waits until each has been renewed at least once from now on, in the time of two ttls, and is held still; but for some.
func (x *keptLocks) renewed(when string, but ...func(*lock.Lock) bool) {
	x.Helper()
	x.mu.Lock()
	clear(x.renewals)
	x.mu.Unlock()
	begin := time.Now()
	for i, k := range x.locks {
		if len(but) > 0 && but[0](k) {
			continue
		}
		for x.count(k) == 0 && x.ctxs[i].Err() == nil && time.Since(begin) < 2*keptTTL {
			time.Sleep(10 * time.Millisecond)
		}
		if x.ctxs[i].Err() != nil || x.count(k) == 0 {
			x.Errorf("%s: %s was renewed %d times: %v", when, k.Key(), x.count(k), context.Cause(x.ctxs[i]))
		}
	}
	x.Logf("%s: all were renewed within %v", when, time.Since(begin).Round(time.Millisecond))
}

func (x *keptLocks) count(k *lock.Lock) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.renewals[k.Key()]
}

// TestMasterThatHangsCostsOnlyItsLocks keeps many locks alive at three masters, one of which hangs for longer than a ttl.
func TestMasterThatHangsCostsOnlyItsLocks(t *testing.T) {
	testbed.Slow(t)
	const n, ttl = 600, 3 * time.Second
	servers := redistest.StartCluster(t, redistest.ClusterConfig{Args: []string{"--cluster-require-full-coverage", "no"}})
	c := &lock.Cluster{Addrs: servers.Addrs()}
	defer c.Close()
	owners, ill := servers.Owners(), servers.Servers[1]
	isIll := func(k *lock.Lock) bool { return owners[names.Slot(k.Key())] == ill }
	var lost, lostThere, late atomic.Int64
	var least atomic.Int64
	least.Store(int64(ttl))
	l := &lock.Locker{Pool: c, OpTimeout: time.Second, Observer: &lock.Observer{
		Extended: func(_ context.Context, k *lock.Lock, margin time.Duration) {
			for old := least.Load(); !isIll(k) && int64(margin) < old && !least.CompareAndSwap(old, int64(margin)); old = least.Load() {
			}
			if !isIll(k) && margin < ttl/8 {
				late.Add(1)
			}
		},
		Lost: func(_ context.Context, k *lock.Lock, _ error) {
			if isIll(k) {
				lostThere.Add(1)
			} else {
				lost.Add(1)
			}
		},
	}}
	defer l.Close()
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for j := i; j < n; j += 8 {
				k, err := l.Acquire(bg, fmt.Sprint("kept", j), ttl)
				if err != nil {
					t.Error(err)
					return
				}
				k.KeepAlive(bg)
			}
		})
	}
	workers.Wait()
	ill.Pause()
	time.Sleep(2 * ttl)
	ill.Resume()
	t.Logf("lost: %d at the master that hung, %d at the others, where %d renewals came late, the latest with %v left",
		lostThere.Load(), lost.Load(), late.Load(), time.Duration(least.Load()).Round(time.Millisecond))
	if lost.Load()+late.Load() > 0 || lostThere.Load() < n/6 {
		t.Errorf("%d locks of the others were lost, and %d nearly so; %d of its own were", lost.Load(), late.Load(), lostThere.Load())
	}
}
