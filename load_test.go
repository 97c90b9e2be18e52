package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// A resource may be used by one goroutine at a time.
type resource struct {
	key     string
	inside  atomic.Int64
	uses    int   // not atomic on purpose: the race detector is a witness, too
	highest int64 // fencing number
}

// use is the work under the lock.
func (x *resource) use(ctx context.Context, pool *redis.Pool, k *redigolock.Lock) error {
	if n := x.inside.Add(1); n != 1 {
		return fmt.Errorf("%d holders of %s", n, x.key)
	}
	defer x.inside.Add(-1)
	fence, err := k.Fence(ctx)
	if err != nil {
		return err
	}
	if fence <= x.highest {
		return fmt.Errorf("fence %d after %d", fence, x.highest)
	}
	x.uses, x.highest = x.uses+1, fence
	c, err := pool.GetContext(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = redigolock.GuardDo(ctx, c, "guard of "+x.key, fence, "INCR", "count of "+x.key)
	return err
}

func TestThousandGoroutinesOnEightConnections(t *testing.T) {
	server := redistest.Start(t)
	pool, err := redigolock.NewPool(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pool.MaxActive, pool.MaxIdle = 8, 8
	l := &redigolock.Locker{Pool: pool, OpTimeout: 30 * time.Second}
	const goroutines = 1000
	resources := []*resource{{key: "a"}, {key: "b"}, {key: "c"}, {key: "d"}}
	ctx, cancel := context.WithTimeout(bg, 2*time.Minute)
	defer cancel()
	errs := make(chan error, goroutines)
	for i := range goroutines {
		x := resources[i%len(resources)]
		go func() {
			errs <- l.Do(ctx, x.key, time.Minute, func(ctx context.Context, k *redigolock.Lock) error { return x.use(ctx, pool, k) })
		}()
	}
	for range goroutines {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, x := range resources {
		count, err := redis.Int(server.Do("GET", "count of "+x.key))
		if err != nil || x.uses != goroutines/len(resources) || count != x.uses {
			t.Errorf("%s: %d uses, %d on the server, %v", x.key, x.uses, count, err)
		}
		if _, err := server.Do("DEL", "count of "+x.key, "guard of "+x.key); err != nil {
			t.Error(err)
		}
	}
	leftOnly(t, server, "{a}:redigolock-fence", "{b}:redigolock-fence", "{c}:redigolock-fence", "{d}:redigolock-fence")
	if n := pool.ActiveCount(); n > 8 || n != pool.IdleCount() {
		t.Errorf("%d connections, %d of them idle", n, pool.IdleCount())
	}
}

// leftOnly checks which keys the server has.
func leftOnly(t *testing.T, server *redistest.Server, want ...string) {
	t.Helper()
	got, err := redis.Strings(server.Do("KEYS", "*"))
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the server has %q (%v), want %q", got, err, want)
	}
}

// A tenure is the time in which a handle allowed its holder to act.
type tenure struct {
	from, to time.Time
	token    string
}

// tenures collects them for each key.
type tenures struct {
	mu    sync.Mutex // protects what follows
	byKey map[string][]tenure
	total int
}

func (ts *tenures) add(key string, x tenure) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.byKey[key] = append(ts.byKey[key], x)
	ts.total++
}

// enough reports whether something was tested.
func (ts *tenures) enough() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.total >= 5
}

// check finds tenures of one key that overlap.
func (ts *tenures) check(t *testing.T) {
	t.Helper()
	for key, list := range ts.byKey {
		slices.SortFunc(list, func(a, b tenure) int { return a.from.Compare(b.from) })
		for i := 1; i < len(list); i++ {
			if a, b := list[i-1], list[i]; b.from.Before(a.to) && a.token != b.token {
				t.Errorf("%s: two holders for %v", key, a.to.Sub(b.from))
			}
		}
	}
	if !ts.enough() {
		t.Errorf("only %d tenures: nothing was tested", ts.total)
	}
	t.Logf("%d tenures", ts.total)
}

// randomFault loses, delays and refuses a part of the requests.
func randomFault() redistest.Action {
	switch rand.N(60) {
	case 0:
		return redistest.Drop()
	case 1:
		return redistest.Cut()
	case 2:
		return redistest.Swallow()
	case 3:
		return redistest.Truncate(rand.N(4))
	case 4:
		return redistest.Delay(rand.N(150 * time.Millisecond))
	case 5:
		late := make(chan struct{})
		time.AfterFunc(rand.N(400*time.Millisecond), func() { close(late) })
		return redistest.Late(late)
	case 6:
		return redistest.Reply("-LOADING for a moment\r\n")
	case 7:
		return redistest.Reply("-BUSY for a moment\r\n")
	}
	return redistest.Pass()
}

func TestChaosNeverGivesOneLockToTwo(t *testing.T) {
	for _, a := range acquireWays {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel() // mostly it waits
			r := newRig(t)
			r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, 100*time.Millisecond
			r.Proxy.Rule(func(redistest.Request) redistest.Action { return randomFault() })
			ts := &tenures{byKey: map[string][]tenure{}}
			stop := time.Now().Add(2 * time.Second)
			goesOn := func() bool { // longer on a machine that is busy
				late := time.Since(stop)
				return late < 0 || !ts.enough() && late < 30*time.Second
			}
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Go(func() {
					for goesOn() {
						r.oneTenure(ts, string(rune('a'+i%3)))
					}
				})
			}
			wg.Wait()
			r.Proxy.Rule(nil)
			ts.check(t)
			r.OK(r.Locker.Close())
			eventually(t, "nothing is left but what Fence needs, and its ttl at the most", func() bool {
				return r.Do("EXISTS", "a", "b", "c") == int64(0)
			})
		})
	}
}

// oneTenure acquires, works and releases, with a context that ends at any time.
func (r *rig) oneTenure(ts *tenures, key string) {
	ctx, cancel := context.WithTimeout(bg, rand.N(400*time.Millisecond))
	defer cancel()
	const ttl = 300 * time.Millisecond
	k, err := r.Locker.Acquire(ctx, key, ttl)
	from := time.Now()
	if err != nil {
		if k != nil {
			r.T.Error("an error and a handle")
		}
		return
	}
	kept := context.Context(ctx)
	switch rand.N(4) {
	case 0:
		kept = k.KeepAlive(bg)
		select {
		case <-kept.Done():
		case <-time.After(rand.N(ttl)):
		}
	case 1:
		k.Extend(ctx, ttl)
	case 2:
		k.Verify(ctx)
	}
	to := time.Now()
	if deadline := k.Deadline(); deadline.Before(to) {
		to = deadline
	}
	if from.Before(to) { // else it looked at the clock so late that it may not act at all
		ts.add(key, tenure{from, to, k.Token()})
	}
	if err := k.Release(ctx); err != nil && !errors.Is(err, redigolock.ErrNotHeld) && !errors.Is(err, redigolock.ErrUnknown) {
		var re redis.Error
		if !errors.As(err, &re) {
			r.T.Logf("release: %v", err)
		}
	}
}

func TestAllocationsOfACycle(t *testing.T) {
	if testbed.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	server := redistest.Start(t)
	pool, err := redigolock.NewPool(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	mux := &redigolock.Mux{Pool: pool}
	defer mux.Close()
	for name, x := range map[string]struct {
		pool redigolock.Pool
		with redigolock.AcquireFunc
		most float64
	}{
		"pool": {pool, nil, 7}, "pool, SetNX": {pool, redigolock.SetNX, 5},
		"mux": {mux, nil, 5}, "mux, SetNX": {mux, redigolock.SetNX, 3},
	} {
		l := &redigolock.Locker{Pool: x.pool, AcquireWith: x.with}
		n := testing.AllocsPerRun(500, func() {
			k, err := l.TryAcquire(bg, "key", time.Minute)
			if err == nil {
				err = k.Release(bg)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", name, n)
		if n > x.most {
			t.Errorf("%s: %v allocations, at most %v are promised", name, n, x.most)
		}
	}
}
