package bench_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

// keptTTL leaves a machine that stalls half of it, or the locks are lost.
const keptTTL = 5 * time.Second

// kept is a KeepAlive that is over soon.
func kept(s *bench.Server, way string) bench.KeepAlive {
	return bench.KeepAlive{Server: s, Way: way, Locks: 50, TTL: keptTTL, Time: keptTTL}
}

// keeps runs it. A machine that stalls for half of the ttl loses the locks.
func keeps(t *testing.T, k bench.KeepAlive) (res bench.Result) {
	t.Helper()
	once(t, func() (err error) {
		res, err = k.Run(context.Background())
		return err
	})
	return res
}

// A goroutine for each lock is what the loop is measured for, and what the Locker must not have.
func TestKeepAliveCountsGoroutinesAndTheirStacks(t *testing.T) {
	s, _ := realServer(t)
	of := func(way string) bench.Result {
		k := kept(s, way)
		k.Locks, k.TTL, k.Time = 1000, 2*time.Second, 2*time.Second
		return keeps(t, k)
	}
	byLoop, byLocker := of("loop"), of("locker")
	if n := byLoop.Kept.Goroutines; n < 1000 {
		t.Errorf("the loop has %d goroutines for 1000 locks", n)
	}
	if n := byLocker.Kept.Goroutines; n < 1 || n > 100 {
		t.Errorf("the Locker has %d goroutines for 1000 locks", n)
	}
	if byLoop.Kept.Bytes < 2048 { // the smallest stack
		t.Errorf("the loop has %.0f bytes for a lock", byLoop.Kept.Bytes)
	}
	if got, most := byLocker.Kept.Bytes, byLoop.Kept.Bytes; got <= 0 || got >= most {
		t.Errorf("the Locker has %.0f bytes for a lock, the loop %.0f", got, most)
	}
}

// Figures of locks that were lost are worse than none: here somebody deletes a key.
func TestKeepAliveFailsWhenALockIsLost(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"locker", "loop"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			losesALock(t, way)
		})
	}
}

func losesALock(t *testing.T, way string) {
	s, r := realServer(t)
	k := kept(s, way)
	k.Time = time.Hour
	ended := make(chan error, 1)
	go func() {
		res, err := k.Run(context.Background())
		if res.Ops != 0 || res.Kept != nil {
			t.Errorf("figures came with it: %+v", res)
		}
		ended <- err
	}()
	eventually(t, "it has its keys", func() bool { return len(keysOf(t, r)) == k.Locks })
	key, left := keysOf(t, r)[0], 0
	eventually(t, "it has renewed one", func() bool {
		before := left
		left, _ = redis.Int(r.Do("PTTL", key))
		return before > 0 && left > before
	})
	if _, err := r.Do("DEL", key); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "of 50 locks were lost") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it has not noticed")
	}
}

// A lazy keeper says that all goes well, and renews nothing.
type lazyKeeper struct{ *bench.Keeping }

func (l lazyKeeper) Acquire(i int) error {
	c := l.Pool.Get()
	defer c.Close()
	_, err := c.Do("SET", l.Keys[i], "x", "PX", l.TTL.Milliseconds()/2)
	return err
}

func (l lazyKeeper) Keep(int) error { l.Renewed(time.Now()); return nil }

func (l lazyKeeper) End() {}

func TestKeepAliveLooksForTheKeysItself(t *testing.T) {
	t.Parallel()
	s, _ := realServer(t)
	addRival(t, bench.RivalKind{Name: "lazy", Keep: func(k *bench.Keeping) (bench.Keeper, error) { return lazyKeeper{k}, nil }})
	res, err := kept(s, "lazy").Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "the keys of 50 of 50 locks were gone") {
		t.Errorf("%d renewals, %v", res.Ops, err)
	}
}

func TestKeepAliveSaysWhatAKeeperFailedWith(t *testing.T) {
	s, r := realServer(t)
	broken := errors.New("broken")
	addRival(t, bench.RivalKind{Name: "broken keeper", Keep: func(*bench.Keeping) (bench.Keeper, error) { return nil, broken }})
	if _, err := kept(s, "broken keeper").Run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := r.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"locker", "loop"} {
		_, err := kept(s, way).Run(context.Background())
		var refused redis.Error
		if !errors.As(err, &refused) || !strings.HasPrefix(string(refused), "OOM") {
			t.Errorf("%s: %v", way, err)
		}
	}
}
