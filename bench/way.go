package bench

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

var bg = context.Background()

// An opFunc is one acquire + release.
type opFunc = func(key string) error

// A way is how the goroutines of one process lock, opened.
type way struct {
	once    opFunc                                                    // acquires without a wait, and releases
	acquire func(w int, key string) (release func() error, err error) // waits; w is the number of the goroutine
	ended   func(error) error                                         // nil for the error of a wait that close has ended
	close   func()                                                    // ends all waits, while others may still hold and release
	end     func()                                                    // when all have ended
}

// A wayConfig is what a way is opened for.
type wayConfig struct {
	server   *Server
	name     string
	release  string // of the verbs
	poolSize int    // 0: unbounded
	lanes    int    // 0: no Mux
	ttl      time.Duration
}

var acquireVerbs = map[string]lock.AcquireFunc{
	"setnx":          lock.SetNX,
	"setnx-verified": lock.SetNXVerified,
	"setnx-get":      lock.SetNXGet,
	"script":         lock.SetNXScript,
}

var releaseVerbs = map[string]lock.ReleaseFunc{
	"lua":    lock.Release,
	"tx":     lock.ReleaseTx,
	"native": lock.ReleaseNative,
}

// lockers are the settings of the ways that are a Locker.
var lockers = map[string]func(*lock.Locker){
	"locker":        func(*lock.Locker) {},
	"locker-setnx":  func(l *lock.Locker) { l.AcquireWith = lock.SetNX },
	"locker-script": func(l *lock.Locker) { l.ReleaseWith = lock.Release },
	"polling":       func(*lock.Locker) {},
	"fair":          func(l *lock.Locker) { l.Fair = true },
	"cohort":        func(l *lock.Locker) { l.Fair, l.Cohort = true, lock.Cohort{Passes: 64, Slice: 5 * time.Millisecond} },
}

// waitingWays are our own ways to wait for a lock, and ownApproaches those to try once.
var (
	waitingWays   = []string{"polling", "fair", "cohort"}
	ownApproaches = []string{"floor", "setnx", "setnx-verified", "setnx-get", "script", "locker", "locker-setnx", "locker-script", "fair"}
)

func isFair(way string) bool { return way == "fair" || way == "cohort" }

// check checks the way, which may be one of these, and what it goes through.
func (c wayConfig) check(ways, rivals []string) error {
	kind, rival := rivalNamed(c.name)
	_, locker := lockers[c.name]
	known := strings.Join(slices.Concat(ways, rivals), ", ")
	switch {
	case !rival && !slices.Contains(ways, c.name):
		return badConfig("unknown %q, there are %s; and those like floor-pool16, locker-mux2 and fair-mux2", c.name, known)
	case rival && !slices.Contains(rivals, c.name):
		return badConfig("%s cannot wait for a lock; those that can are %s", c.name, known)
	case c.lanes < 0 || c.lanes > MaxLanes:
		return badConfig("a Mux of %d lanes, allowed are 1 to %d", c.lanes, MaxLanes)
	case c.poolSize < 0 || c.poolSize > MaxWorkers:
		return badConfig("a pool of %d connections, allowed are 1 to %d", c.poolSize, MaxWorkers)
	case c.lanes > 0 && !locker:
		return badConfig("%s: a Mux is for a Locker", c.name)
	case c.poolSize > 0 && (c.lanes > 0 || !locker && c.name != "floor"):
		return badConfig("%s: a bounded pool is for a floor, or a Locker without Mux", c.name)
	case c.poolSize > 0 && c.server.isCluster():
		return badConfig("%s: a bounded pool is for one server", c.name)
	case c.server.Delay > 0 && kind.Server != "":
		return badConfig("%s behind a delay: it uses a server of its own, %s, which the link does not lead to", c.name, kind.Server)
	case rival && kind.Server == "":
		return checkOneServer(c.server, c.name)
	}
	return nil
}

func (c wayConfig) open() (*way, error) {
	if kind, ok := rivalNamed(c.name); ok {
		return c.rival(kind)
	}
	if set, ok := lockers[c.name]; ok {
		return c.locker(set), nil
	}
	if c.name == "floor" {
		pool, end := c.pool()
		return &way{once: floor(pool, c.ttl), close: func() {}, end: end}, nil
	}
	once := verbsOp(c.server.locks, acquireVerbs[c.name], releaseVerbs[c.release], c.ttl)
	return &way{once: once, close: func() {}, end: func() {}}, nil
}

// pool is what a Locker or the floor goes through, and a func that ends it. A bounded one has all its connections before
// the clock starts, as an unbounded one gets them by itself.
func (c wayConfig) pool() (p lock.Pool, end func()) {
	switch {
	case c.lanes > 0:
		mux := &lock.Mux{Pool: c.server.locks, Conns: c.lanes}
		return mux, func() { _ = mux.Close() }
	case c.poolSize > 0:
		bounded := c.server.bounded(c.poolSize)
		fill(bounded)
		return bounded, func() { _ = bounded.Close() }
	}
	return c.server.locks, func() {}
}

// fill dials all connections of a bounded pool. An error is left to whoever borrows next.
func fill(pool *redis.Pool) {
	lent := make([]redis.Conn, pool.MaxActive)
	for i := range lent {
		lent[i] = pool.Get()
	}
	for _, c := range lent {
		_ = c.Close()
	}
}

func verbsOp(pool lock.Pool, acquire lock.AcquireFunc, release lock.ReleaseFunc, ttl time.Duration) opFunc {
	return func(key string) error {
		token := lock.NewToken()
		c := pool.Get()
		err := acquire(bg, c, key, token, ttl)
		_ = c.Close()
		if err != nil {
			return err
		}
		c = pool.Get()
		err = release(bg, c, key, token)
		_ = c.Close()
		return err
	}
}

func (c wayConfig) locker(set func(*lock.Locker)) *way {
	pool, endPool := c.pool()
	l := &lock.Locker{Pool: pool}
	set(l)
	ctx, cancel := context.WithCancel(bg) // as callers have, and rivals: a command watches a context that can end
	closeLocker := func() { _ = l.Close() }
	return &way{
		once: func(key string) error {
			k, err := l.TryAcquire(bg, key, c.ttl)
			if err != nil {
				return err
			}
			return k.Release(bg)
		},
		acquire: func(_ int, key string) (func() error, error) {
			k, err := l.Acquire(ctx, key, c.ttl)
			if err != nil {
				return nil, err
			}
			return func() error { return k.Release(ctx) }, nil
		},
		ended: func(err error) error {
			if !l.Fair && errors.Is(err, lock.ErrUnknown) {
				return err
			}
			return endOfWait(err)
		},
		close: closeLocker,
		end:   func() { closeLocker(); cancel(); endPool() },
	}
}

func (c wayConfig) rival(kind RivalKind) (*way, error) {
	r, err := kind.Open(RivalConfig{Server: c.server, TTL: c.ttl})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(bg)
	return &way{
		once: func(key string) error {
			release, err := r.TryAcquire(key)
			if err != nil {
				return err
			}
			return release()
		},
		acquire: func(_ int, key string) (func() error, error) { return r.Acquire(ctx, key) },
		ended: func(err error) error {
			if ctx.Err() != nil {
				return nil // whatever a library says of a wait that it was told to end
			}
			return err
		},
		close: cancel,
		end:   func() { cancel(); r.Close() },
	}, nil
}

// endOfWait is nil for a wait that has ended because the time was up, and after nothing worse than that the lock was
// held. A fair waiter leaves at once whatever is on its way, which is then ErrUnknown, and is cleaned up by Close.
func endOfWait(err error) error {
	var refused redis.Error
	var broken net.Error
	if errors.Is(err, lock.ErrClosed) && !errors.As(err, &refused) && !errors.As(err, &broken) {
		return nil
	}
	return err
}
