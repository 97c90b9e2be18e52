//go:build !race

// It counts bytes, which are others with the race detector.

package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// What a fair Locker keeps for a key, and for how long:
//   - while the lock is held, waited for or being released: a slot;
//   - after somebody has waited: the slot and its channel's subscription, for linger and a ping, about four seconds;
//   - after the last waiter has given up: the slot with the token, for the ttl and an OpTimeout, and about two seconds;
//   - after a holder that does not release: the slot, for the ttl, and about two seconds;
//   - after that: nothing but the room in two maps, for as many slots as there were at a time.
//
// The server keeps the lock, and the queue while somebody is in it; and for a minute what those who waited for more than three
// quarters of a second have beaten in.

// usage is what is in use when nobody does anything.
type usage struct {
	heap, server      int64 // bytes
	goroutines        int
	connections, idle int64 // the server's, but for the one that asks; the pools'
	keys, channels    int64
	slots             int
}

func (u usage) String() string {
	return fmt.Sprintf("heap %d KiB, server's memory %d KiB, %d goroutines, %d connections, %d of them idle, "+
		"%d keys, %d channels, %d slots",
		u.heap>>10, u.server>>10, u.goroutines, u.connections, u.idle, u.keys, u.channels, u.slots)
}

// cycles are acquires and releases by two Lockers.
type cycles struct {
	t       *testing.T
	server  *redistest.Server
	pools   []*redis.Pool
	lockers []*redigolock.Locker
	keys    int
	done    atomic.Int64
	waited  atomic.Int64
	gaveUp  atomic.Int64
}

const (
	cycleTTL = 2 * time.Second
	fillTTL  = time.Minute
	poolMost = 16 // connections of a Locker's pool
	// What the memory may differ by between two looks: less than a byte for each cycle of the long form, or a slot for
	// each key of the short one.
	heapSlack, serverSlack = 384 << 10, 256 << 10
)

func newCycles(t *testing.T, keys int) *cycles {
	t.Helper()
	c := &cycles{t: t, server: redistest.Start(t), keys: keys}
	for range 2 {
		pool, err := redigolock.NewPool(c.server.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pool.Close() })
		pool.MaxActive, pool.MaxIdle = poolMost, poolMost
		l := &redigolock.Locker{Pool: pool, Fair: true, Observer: &redigolock.Observer{
			Contended: func(context.Context, string, *redigolock.HeldError) { c.waited.Add(1) },
		}}
		t.Cleanup(func() { l.Close() })
		c.pools, c.lockers = append(c.pools, pool), append(c.lockers, l)
	}
	return c
}

// fill has each Locker wait for all keys at a time: a map keeps the room that it once had.
func (c *cycles) fill() {
	c.t.Helper()
	for i, holder := range c.lockers {
		waiter := c.lockers[1-i]
		var held []*redigolock.Lock
		var wg sync.WaitGroup
		for n := range c.keys {
			key := fmt.Sprint("key", n)
			k, err := holder.TryAcquire(bg, key, fillTTL)
			if err != nil {
				c.t.Fatal(err)
			}
			held = append(held, k)
			wg.Go(func() {
				k, err := waiter.Acquire(bg, key, fillTTL)
				if err == nil {
					err = k.Release(bg)
				}
				if err != nil {
					c.t.Error(err)
				}
			})
		}
		eventually(c.t, "it waits for all keys", func() bool {
			return testbed.ServerFigure(c.t, c.server, "stats", "pubsub_channels") >= int64(c.keys)
		})
		for _, k := range held {
			if err := k.Release(bg); err != nil {
				c.t.Error(err)
			}
		}
		wg.Wait()
	}
}

// run does n cycles by eight goroutines.
func (c *cycles) run(n int) {
	var wg sync.WaitGroup
	end := c.done.Load() + int64(n)
	for i := range 8 {
		wg.Go(func() {
			for at := c.done.Add(1); at <= end; at = c.done.Add(1) {
				c.cycle(c.lockers[i%2], at)
			}
		})
	}
	wg.Wait()
	c.done.Store(end)
}

// cycle mostly takes a key that nobody else wants; each fourth time it is one that all want at this moment, and with time
// all keys are that. Some give up.
func (c *cycles) cycle(l *redigolock.Locker, at int64) {
	ctx, cancel := bg, func() {}
	n := rand.N(c.keys)
	if rand.N(4) == 0 {
		n = int(at) / 40 % c.keys
		if rand.N(8) == 0 {
			ctx, cancel = context.WithTimeout(bg, rand.N(300*time.Microsecond))
		}
	}
	defer cancel()
	begin := time.Now()
	k, err := l.Acquire(ctx, fmt.Sprint("key", n), cycleTTL)
	if err != nil {
		if !errors.Is(err, redigolock.ErrExpired) || time.Since(begin) < validFor(cycleTTL) { // else the machine is busy
			wants(c.t, err, context.DeadlineExceeded)
		}
		c.gaveUp.Add(1)
		return
	}
	if err := k.Release(bg); err != nil {
		c.t.Error(err)
	}
}

// rest waits until nothing is kept any more.
func (c *cycles) rest() usage {
	c.t.Helper()
	eventually(c.t, "the subscriptions end", func() bool {
		return !redigolock.Subscribed(c.lockers[0]) && !redigolock.Subscribed(c.lockers[1])
	})
	// A token whose command was not answered in time is remembered for its ttl: on a busy machine, of all those at a time.
	within(c.t, fillTTL+10*time.Second, "all slots go", func() bool {
		return redigolock.FairSlots(c.lockers[0])+redigolock.FairSlots(c.lockers[1]) == 0
	})
	var u usage
	eventually(c.t, "all connections are idle", func() bool {
		u = c.usage()
		return u.connections == u.idle
	})
	return u
}

func (c *cycles) usage() usage {
	c.t.Helper()
	var mem runtime.MemStats
	runtime.GC()
	runtime.GC() // what was in a sync.Pool goes with the second
	runtime.ReadMemStats(&mem)
	all := testbed.ServerFigure(c.t, c.server, "memory", "used_memory")
	ofClients := testbed.ServerFigure(c.t, c.server, "memory", "mem_clients_normal")
	u := usage{
		heap: int64(mem.HeapAlloc), goroutines: runtime.NumGoroutine(),
		server:      all - ofClients,
		connections: testbed.ServerFigure(c.t, c.server, "clients", "connected_clients") - 1,
		channels:    testbed.ServerFigure(c.t, c.server, "stats", "pubsub_channels"),
	}
	keys, err := redis.Strings(c.server.Do("KEYS", "*"))
	if err != nil {
		c.t.Fatal(err)
	}
	u.keys = int64(len(slices.DeleteFunc(keys, isBeats)))
	for i, l := range c.lockers {
		u.idle += int64(c.pools[i].IdleCount())
		u.slots += redigolock.FairSlots(l)
	}
	return u
}

// After twice as many cycles nothing is more than after half of them.
func TestFairCyclesGrowNothing(t *testing.T) {
	n, keys := 20_000, 1000
	if testbed.Long() {
		n, keys = 1_000_000, 10_000
	}
	c := newCycles(t, keys)
	c.fill()
	c.run(n / 2)
	t.Logf("at work: %v", c.usage())
	half := c.rest()
	t.Logf("after %d: %v", n/2, half)
	c.run(n / 2)
	all := c.rest()
	t.Logf("after %d: %v", n, all)
	t.Logf("%d waited, %d gave up", c.waited.Load(), c.gaveUp.Load())
	if c.waited.Load() < int64(n/100) || c.gaveUp.Load() < int64(n/1000) {
		t.Error("too few for anything to be tested")
	}
	if grown := all.heap - half.heap; grown > heapSlack {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if grown := all.server - half.server; grown > serverSlack {
		t.Errorf("the server's memory has grown by %d bytes", grown)
	}
	eventually(t, "there are no more goroutines than before", func() bool { return runtime.NumGoroutine() <= half.goroutines })
	if all.connections > 2*poolMost || all.keys != 0 || all.channels != 0 {
		t.Errorf("left: %v", all)
	}
}
