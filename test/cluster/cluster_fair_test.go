package cluster

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A clusterQueue is a key of a real cluster that some fair Lockers wait for, each with one waiter.
type clusterQueue struct {
	t       *testing.T
	servers *redistest.Cluster
	pool    *redigolock.Cluster
	key     string
	got     chan int // which has got the lock, in turn
	end     sync.WaitGroup
}

func newClusterQueue(t *testing.T, servers *redistest.Cluster, key string) *clusterQueue {
	q := &clusterQueue{t: t, servers: servers, key: key, got: make(chan int, 64)}
	q.pool = &redigolock.Cluster{Addrs: servers.Addrs()}
	t.Cleanup(func() { q.pool.Close() })
	return q
}

func (q *clusterQueue) locker() *redigolock.Locker {
	l := &redigolock.Locker{Pool: q.pool, Fair: true, OpTimeout: testbed.Unhurried}
	q.t.Cleanup(func() { l.Close() })
	return l
}

// waits has n Lockers wait, one behind the other. Each releases the lock as soon as it has it.
func (q *clusterQueue) waits(n int) {
	q.t.Helper()
	c := q.pool.Get()
	defer c.Close()
	for i := range n {
		l := q.locker()
		q.end.Go(func() {
			k, err := l.Acquire(bg, q.key, time.Minute)
			if err != nil {
				q.t.Errorf("waiter %d: %v", i, err)
				return
			}
			q.got <- i
			time.Sleep(10 * time.Millisecond)
			if err := k.Release(bg); err != nil {
				q.t.Errorf("waiter %d: %v", i, err)
			}
		})
		eventually(q.t, fmt.Sprintf("waiter %d is queued", i), func() bool {
			info, err := redigolock.Inspect(bg, c, q.key)
			return err == nil && info.Waiters == i+1
		})
	}
}

// served waits until n waiters have had the lock, and returns their order.
func (q *clusterQueue) served(n int) (order []int) {
	q.t.Helper()
	begin := time.Now()
	for range n {
		order = append(order, testbed.Receive(q.t, fmt.Sprintf("another gets the lock, after %v", order), q.got))
	}
	q.end.Wait()
	q.t.Logf("%d waiters had it within %v, in the order %v", n, time.Since(begin), order)
	return order
}

// inOrder is served, and wants them in their order.
func (q *clusterQueue) inOrder(n int) {
	q.t.Helper()
	if order := q.served(n); !slices.IsSorted(order) {
		q.t.Errorf("they had it in the order %v", order)
	}
}

// TestFairCluster: keys of all nodes, whose waiters are told by sharded messages, in their order.
func TestFairCluster(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	t.Run("order", func(t *testing.T) {
		for i := range 3 {
			q := newClusterQueue(t, servers, fmt.Sprint("key", i))
			k := must(q.locker().Acquire(bg, q.key, time.Minute))
			q.waits(4)
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
			q.inOrder(4)
		}
		published, nodes := 0, map[*redistest.Server]bool{}
		for _, s := range servers.Servers {
			calls, err := s.Calls()
			if err != nil {
				t.Fatal(err)
			}
			if calls["publish"] > 0 || calls["subscribe"] > 0 {
				t.Errorf("%v", calls)
			}
			if published += int(calls["spublish"]); calls["ssubscribe"] > 0 {
				nodes[s] = true
			}
		}
		if published != 12 || len(nodes) < 2 {
			t.Errorf("SPUBLISH was sent %d times, SSUBSCRIBE to %d nodes", published, len(nodes))
		}
	})

	// While the slot moves a lock is released by its key alone. Those that wait go on once it has moved, and each gets the lock once. They
	// keep their order if all have followed the slot within 250 ms, which no busy machine can promise: TestFairClusterSlotTakesMinutes and
	// TestFairClusterKeepsTheOrderWhereOthersWereRedirected look at it in virtual time.
	moves := map[string]func(q *clusterQueue, slot int, from, to *redistest.Server, release func()) error{
		"released while nothing has moved": func(q *clusterQueue, slot int, from, to *redistest.Server, release func()) error {
			err := servers.BeginMigration(slot, from, to)
			release()
			time.Sleep(100 * time.Millisecond)
			for range 2 {
				if err == nil {
					err = servers.MoveKeys(slot, from, to)
				}
			}
			if err != nil {
				return err
			}
			return servers.EndMigration(slot, from, to)
		},
		"released when the keys have moved": func(q *clusterQueue, slot int, from, to *redistest.Server, release func()) error {
			err := servers.BeginMigration(slot, from, to)
			if err == nil {
				err = servers.MoveKeys(slot, from, to)
			}
			release()
			before := sent(q.t, servers)
			begin := time.Now()
			time.Sleep(testbed.Length(100*time.Millisecond, time.Minute))
			q.t.Logf("5 waiters, %.1f commands a second while the slot moves", float64(sent(q.t, servers)-before)/time.Since(begin).Seconds())
			if err != nil {
				return err
			}
			return servers.EndMigration(slot, from, to)
		},
		"released when the slot has moved": func(q *clusterQueue, slot int, from, to *redistest.Server, release func()) error {
			err := servers.Migrate(slot, from, to)
			release()
			return err
		},
	}
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			q := newClusterQueue(t, servers, name)
			holder := q.locker()
			k := must(holder.Acquire(bg, q.key, time.Minute))
			q.waits(5)
			slot := servers.KeySlot(q.key)
			from := servers.Owner(slot)
			err := move(q, slot, from, otherMaster(servers, from), func() {
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if order := slices.Sorted(slices.Values(q.served(5))); !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
				t.Errorf("%v had it", order)
			}
		})
	}
}

// sent is how many scripts, and questions for the map, all servers were sent: also those that they refused since the slot is moving.
func sent(t *testing.T, servers *redistest.Cluster) (n int64) {
	t.Helper()
	for _, s := range servers.Servers {
		calls, err := s.Calls()
		if err != nil {
			t.Fatal(err)
		}
		info, err := redis.String(s.Do("INFO", "errorstats"))
		if err != nil {
			t.Fatal(err)
		}
		n += calls["evalsha"] + calls["eval"] + calls["cluster|slots"] + calls["cluster|info"]
		for _, word := range []string{"TRYAGAIN", "ASK", "MOVED"} {
			n += errorCount(info, word)
		}
	}
	return n
}

// TestFairClusterReleaseHalfway: while the slot is moving a Release hands the lock to the last of the queue, and its own next waiter
// cannot be queued behind any more. It has released all the same.
func TestFairClusterReleaseHalfway(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	q := newClusterQueue(t, servers, "halfway")
	holder := q.locker()
	k := must(holder.Acquire(bg, q.key, time.Minute))
	q.waits(1)
	next := testbed.InBackground(func() error {
		k, err := holder.Acquire(bg, q.key, time.Minute)
		if err != nil {
			return err
		}
		return k.Release(bg)
	})
	slot := servers.KeySlot(q.key)
	from := servers.Owner(slot)
	eventually(t, "both are subscribed", func() bool {
		calls, err := from.Calls()
		return err == nil && calls["ssubscribe"] == 2
	})
	time.Sleep(50 * time.Millisecond) // for the reply to come; if it has not, the Release takes nobody along, and this proves less
	if err := servers.BeginMigration(slot, from, otherMaster(servers, from)); err != nil {
		t.Fatal(err)
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
	q.inOrder(1)
	err := servers.MoveKeys(slot, from, otherMaster(servers, from))
	if err == nil {
		err = servers.EndMigration(slot, from, otherMaster(servers, from))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := testbed.Receive(t, "the next waiter of the holder's Locker", next); err != nil {
		t.Error(err)
	}
}

func must(k *redigolock.Lock, err error) *redigolock.Lock {
	if err != nil {
		panic(err)
	}
	return k
}
