package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A slot may take minutes to move key by key. Meanwhile a lock is released by its key alone, and nobody gets it; those that wait ask
// seldom; and once the slot has moved they get it, in their order. So it is wherever the keys of the lock are by then.
func TestFairClusterSlotTakesMinutes(t *testing.T) {
	others := func(keys []string) []string {
		return slices.DeleteFunc(keys, func(k string) bool { return k == "key" })
	}
	for name, moved := range map[string]func(keys []string) []string{
		"the queue has not moved": func([]string) []string { return []string{"key"} },
		"the lock has not moved":  others,
		"all has moved":           func(keys []string) []string { return keys },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { slotTakesMinutes(t, moved) })
		})
	}
}

func slotTakesMinutes(t *testing.T, moved func(keys []string) []string) {
	waiters, minutes := 20, 5
	if testbed.RaceEnabled {
		waiters, minutes = 5, 1
	}
	servers := sim.NewCluster(t, 2)
	from := servers.Owner("key")
	var commands map[string]int
	var mu sync.Mutex
	count := func() (n map[string]int) {
		mu.Lock()
		defer mu.Unlock()
		n, commands = commands, map[string]int{}
		return n
	}
	count()
	servers.Rule(func(_ int, r sim.Request) sim.Action {
		mu.Lock()
		defer mu.Unlock()
		commands[r.Name]++
		return sim.Pass()
	})
	locker := func() *lock.Locker {
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
		l := &lock.Locker{Pool: pool, Fair: true}
		t.Cleanup(func() { l.Close(); pool.Close() })
		return l
	}
	k, err := locker().Acquire(bg, "key", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var turns turns
	for range waiters {
		turns.wait(t, locker())
		time.Sleep(time.Second)
	}
	count()
	time.Sleep(time.Minute)
	t.Logf("a second of waiting: %s", rate(count(), time.Minute))
	servers.Begin("key", 1-from)
	for _, key := range moved(servers.Nodes[from].Miniredis().Keys()) {
		if err := servers.Move(key); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	if err := k.Release(bg); err != nil || time.Since(begun) > 10*time.Millisecond {
		t.Errorf("release while the slot moves: %v, after %v", err, time.Since(begun))
	}
	count()
	time.Sleep(time.Duration(minutes) * time.Minute)
	n := count()
	t.Logf("a second of moving: %s", rate(n, time.Duration(minutes)*time.Minute))
	if most := waiters * minutes * 60; n["EVALSHA"] > 5*most/2 || n["CLUSTER"] > most/10 {
		t.Errorf("in %d minutes %d waiters sent %v", minutes, waiters, n)
	}
	if order, _ := turns.had(); len(order) > 0 {
		t.Errorf("%v got the lock while its slot moved", order)
	}
	if err := servers.End("key", 1-from); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	turns.done.Wait()
	order, served := turns.had()
	t.Logf("all served within %v", served.Sub(ended))
	if !slices.IsSorted(order) {
		t.Errorf("they got the lock in the order %v", order)
	}
	if took := served.Sub(ended); took > time.Second { // the cap of the pokes
		t.Errorf("all were served only after %v", took)
	}
}

// turns are those of some Lockers that wait for a key, each once.
type turns struct {
	done sync.WaitGroup
	n    int // that wait, or have waited

	mu    sync.Mutex // protects what follows
	order []int      // in which they have had the lock
	last  time.Time  // when one of them got it
}

// wait has another one wait, which releases the lock at once.
func (w *turns) wait(t *testing.T, l *lock.Locker) {
	i := w.n
	w.n++
	w.done.Go(func() {
		k, err := l.Acquire(bg, "key", time.Hour)
		if err != nil {
			t.Error(err)
			return
		}
		w.mu.Lock()
		w.order, w.last = append(w.order, i), time.Now()
		w.mu.Unlock()
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

func (w *turns) had() (order []int, last time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.order), w.last
}

// rate is how many commands there were a second.
func rate(n map[string]int, d time.Duration) string {
	all := 0
	var each []string
	for _, name := range slices.Sorted(maps.Keys(n)) {
		all += n[name]
		each = append(each, fmt.Sprintf("%s %.2f", name, float64(n[name])/d.Seconds()))
	}
	return fmt.Sprintf("%.2f commands (%s)", float64(all)/d.Seconds(), strings.Join(each, ", "))
}

// A TryAcquire that meets a slot that has just moved asks its new node, within its OpTimeout.
func TestFairClusterTryAcquireFollowsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := sim.NewCluster(t, 2)
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
		l := &lock.Locker{Pool: pool, Fair: true}
		t.Cleanup(func() { l.Close(); pool.Close() })
		for range 3 {
			k, err := l.TryAcquire(bg, "key", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
			if err := servers.End("key", 1-servers.Owner("key")); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			k, err = l.TryAcquire(bg, "key", time.Minute)
			if took := time.Since(begin); err != nil || took > lock.DefaultOpTimeout {
				t.Errorf("%v after %v", err, took)
			}
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
		}
		// It is still moving when that was waited for.
		moving := sim.Refuse("TRYAGAIN Multiple keys request during rehashing of slot")
		servers.Nodes[servers.Owner("key")].Next("evalsha", moving, moving)
		begin := time.Now()
		k, err := l.TryAcquire(bg, "key", time.Minute)
		if took := time.Since(begin); err != nil || took > lock.DefaultOpTimeout {
			t.Errorf("told twice that the slot is moving: %v after %v", err, took)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		short := &lock.Locker{Pool: pool, Fair: true, OpTimeout: 100 * time.Millisecond}
		t.Cleanup(func() { short.Close() })
		if err := servers.End("key", 1-servers.Owner("key")); err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		k, err = short.TryAcquire(bg, "key", time.Minute)
		if took := time.Since(begin); err == nil || took > 100*time.Millisecond {
			t.Errorf("a short OpTimeout: %v, %v after %v", k, err, took)
		}
	})
}

// So does one whose first try was lost, and whose second finds that the slot moves.
func TestFairClusterTryAcquireThatWasLostFollowsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := sim.NewCluster(t, 2)
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
		l := &lock.Locker{Pool: pool, Fair: true}
		t.Cleanup(func() { l.Close(); pool.Close() })
		k, err := l.TryAcquire(bg, "key", time.Minute)
		if err := errors.Join(err, k.Release(bg)); err != nil {
			t.Fatal(err)
		}
		from := servers.Owner("key")
		servers.Nodes[from].Next("evalsha", sim.Cut())
		servers.Begin("key", 1-from)
		time.AfterFunc(100*time.Millisecond, func() {
			if err := servers.End("key", 1-from); err != nil {
				t.Error(err)
			}
		})
		begin := time.Now()
		k, err = l.TryAcquire(bg, "key", time.Minute)
		if took := time.Since(begin); err != nil || took < 100*time.Millisecond || took > lock.DefaultOpTimeout {
			t.Errorf("%v after %v", err, took)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// A TryAcquire ends with its OpTimeout also where the node that its slot has moved to hangs, be it that it was led there, or that it has
// waited for the slot to settle before it asked.
func TestFairClusterTryAcquireOfASlotThatHasMovedEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := sim.NewCluster(t, 2)
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
		l := &lock.Locker{Pool: pool, Fair: true}
		t.Cleanup(func() { l.Close(); pool.Close() })
		k, err := l.TryAcquire(bg, "key", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		move := func() (to *sim.Server) {
			t.Helper()
			node := 1 - servers.Owner("key")
			if err := servers.End("key", node); err != nil {
				t.Fatal(err)
			}
			return servers.Nodes[node]
		}
		tries := func(what string) {
			t.Helper()
			begin := time.Now()
			_, err := l.TryAcquire(bg, "key", time.Minute)
			if took := time.Since(begin); err == nil || took > lock.DefaultOpTimeout {
				t.Errorf("%s: %v after %v", what, err, took)
			}
		}
		goOn := servers.Nodes[1-servers.Owner("key")].HangDials()
		move()
		tries("the new node cannot be reached")
		goOn()
		time.Sleep(10 * time.Second)
		goOn = move().Pause()
		ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
		defer cancel()
		if _, err := l.TryAcquire(ctx, "key", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("its caller's context has ended: %v", err)
		}
		tries("the slot has moved a moment ago")
		goOn()
		time.Sleep(10 * time.Second)
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// Lockers that share a Cluster share its map: once one of them was redirected, the commands of the others go to the new node as well,
// where nobody need be subscribed yet. Nothing hands the lock on there before all had time for that, and the order stays: not the Release
// of its holder, nor an Extend or a renewal that finds the lock free.
func TestFairClusterKeepsTheOrderWhereOthersWereRedirected(t *testing.T) {
	for name, end := range map[string]func(k *lock.Lock) error{
		"release": func(k *lock.Lock) error { return k.Release(bg) },
		"extend":  func(k *lock.Lock) error { return k.Extend(bg, 2*time.Hour) },
		"renewal": func(k *lock.Lock) error { <-k.KeepAlive(bg).Done(); return lock.ErrNotHeld },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { keepsTheOrder(t, name, end) })
		})
	}
}

func keepsTheOrder(t *testing.T, name string, end func(k *lock.Lock) error) {
	servers := sim.NewCluster(t, 2)
	pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
	t.Cleanup(func() { pool.Close() })
	locker := func() *lock.Locker {
		l := &lock.Locker{Pool: pool, Fair: true}
		t.Cleanup(func() { l.Close() })
		return l
	}
	k, err := locker().Acquire(bg, "key", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if name == "renewal" {
		time.Sleep(31 * time.Minute) // it is due
	}
	var turns turns
	for range 5 {
		turns.wait(t, locker())
		time.Sleep(10 * time.Millisecond)
	}
	next := 1 - servers.Owner("key")
	servers.Rule(func(node int, r sim.Request) sim.Action {
		if r.Name == "SSUBSCRIBE" && node == next {
			return sim.Late(settles / 2)
		}
		return sim.Pass()
	})
	if err := servers.End("key", next); err != nil {
		t.Fatal(err)
	}
	var want error
	if name != "release" {
		want = lock.ErrNotHeld
		if _, err := servers.Nodes[next].Do("DEL", "key"); err != nil {
			t.Fatal(err)
		}
	}
	c := pool.Get()
	if _, err := c.Do("GET", "key"); err != nil {
		t.Error(err)
	}
	c.Close()
	begin := time.Now()
	if err := end(k); !errors.Is(err, want) {
		t.Error(err)
	}
	turns.done.Wait()
	order, last := turns.had()
	if took := last.Sub(begin); len(order) != 5 || !slices.IsSorted(order) || took > time.Second+5*settles {
		t.Errorf("they got the lock in the order %v, within %v", order, took)
	}
}

// settles is how long nobody hands a lock on after its slot has moved.
const settles = 250 * time.Millisecond

// A TryAcquire that meets a slot which is moving waits until it has moved, and ends with its OpTimeout.
func TestFairClusterTryAcquireWhileItsSlotMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := sim.NewCluster(t, 2)
		pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
		l := &lock.Locker{Pool: pool, Fair: true}
		t.Cleanup(func() { l.Close(); pool.Close() })
		from := servers.Owner("key")
		servers.Begin("key", 1-from)
		begin := time.Now()
		_, err := l.TryAcquire(bg, "key", time.Minute)
		if took := time.Since(begin); err == nil || !strings.Contains(err.Error(), "TRYAGAIN the slot is moving") || took > lock.DefaultOpTimeout {
			t.Errorf("%v after %v", err, took)
		}
		time.AfterFunc(400*time.Millisecond, func() {
			if err := servers.End("key", 1-from); err != nil {
				t.Error(err)
			}
		})
		begin = time.Now()
		k, err := l.TryAcquire(bg, "key", time.Minute)
		if took := time.Since(begin); err != nil || took > 400*time.Millisecond+2*settles {
			t.Fatalf("%v after %v", err, took)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}
