package bench

import (
	"context"
	"time"

	lock "github.com/redigolock/redigolock"
)

// An opFunc is one acquire + release.
type opFunc = func(key string) error

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

// op makes the op, and a func that ends what it needs.
func (u Uncontended) op() (op opFunc, end func(), err error) {
	nothing := func() {}
	if kind, ok := rivalNamed(u.Approach); ok {
		if err := readyFor(u.Approach); err != nil {
			return nil, nothing, err
		}
		r, err := kind.Open(RivalConfig{Server: u.Server, TTL: u.TTL, Goroutines: u.Goroutines})
		if err != nil {
			return nil, nothing, err
		}
		return rivalOp(r), r.Close, nil
	}
	switch u.Approach {
	case "floor":
		return floor(u.Server.pool(u.PoolSize), u.TTL), nothing, nil
	case "locker", "locker-setnx", "locker-script", "fair":
		op, end := u.locker()
		return op, end, nil
	}
	return verbsOp(u.Server.locks, acquireVerbs[u.Approach], releaseVerbs[u.Release], u.TTL), nothing, nil
}

func (u Uncontended) locker() (op opFunc, end func()) {
	l := &lock.Locker{Pool: u.Server.pool(u.PoolSize)}
	end = func() { _ = l.Close() }
	if u.Lanes > 0 {
		mux := &lock.Mux{Pool: u.Server.locks, Conns: u.Lanes}
		l.Pool = mux
		end = func() {
			_ = l.Close()
			_ = mux.Close()
		}
	}
	switch u.Approach {
	case "locker-setnx":
		l.AcquireWith = lock.SetNX
	case "locker-script":
		l.ReleaseWith = lock.Release
	case "fair":
		l.Fair = true
	}
	return lockerOp(l, u.TTL), end
}

// warm is a worker's first op. One of them also makes all connections of a bounded pool, as an unbounded one gets them
// by itself.
func (u Uncontended) warm(worker int, op opFunc, key string) error {
	if worker == 0 && u.PoolSize > 0 {
		fill(u.Server.shared(u.PoolSize))
	}
	return op(key)
}

func lockerOp(l *lock.Locker, ttl time.Duration) opFunc {
	ctx := context.Background()
	return func(key string) error {
		k, err := l.TryAcquire(ctx, key, ttl)
		if err != nil {
			return err
		}
		return k.Release(ctx)
	}
}

func verbsOp(pool lock.Pool, acquire lock.AcquireFunc, release lock.ReleaseFunc, ttl time.Duration) opFunc {
	ctx := context.Background()
	return func(key string) error {
		token := lock.NewToken()
		c := pool.Get()
		err := acquire(ctx, c, key, token, ttl)
		_ = c.Close()
		if err != nil {
			return err
		}
		c = pool.Get()
		err = release(ctx, c, key, token)
		_ = c.Close()
		return err
	}
}
