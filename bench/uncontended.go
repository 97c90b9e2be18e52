package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// Uncontended is the acquire and release of distinct keys, one for each goroutine. An op takes a new token and borrows
// a connection for the acquire and one for the release, as code does that holds a lock while it works.
type Uncontended struct {
	Server *Server // Required.
	// Approach is setnx, setnx-verified or script: the verbs; locker: TryAcquire and Release of a Locker with its
	// defaults; locker-setnx: of a Locker with SetNX; floor: redigo by hand. Required.
	Approach string
	// Release is lua, tx or native. Lockers and the floor have lua only. Empty: lua.
	Release string
	// Goroutines work side by side, 1 to 4096. Zero: 1.
	Goroutines int
	// TTL of the locks, 10 ms to 24 h in whole milliseconds. Zero: DefaultTTL.
	TTL time.Duration
	// Time is how long a Run measures. Zero: DefaultTime.
	Time time.Duration
	// Label is what names call the approach. Empty: Approach. A copy needs another name than its original.
	Label string
}

// An opFunc is one acquire + release.
type opFunc func(key string) error

var acquireVerbs = map[string]lock.AcquireFunc{
	"setnx":          lock.SetNX,
	"setnx-verified": lock.SetNXVerified,
	"script":         lock.SetNXScript,
}

var releaseVerbs = map[string]lock.ReleaseFunc{
	"lua":    lock.Release,
	"tx":     lock.ReleaseTx,
	"native": lock.ReleaseNative,
}

var (
	errFloorNotHeld = errors.New("bench: floor: not held")
	errNoOps        = errors.New("bench: not one op was done in the time: choose a longer one")
)

// Approaches are all pairs of approach and release that the server has, at one number of goroutines; the first is what
// the others are compared with.
func Approaches(s *Server, goroutines int) []Uncontended {
	var list []Uncontended
	for _, approach := range []string{"setnx", "setnx-verified", "script"} {
		for _, release := range []string{"lua", "tx", "native"} {
			if release != "native" || s.Native {
				list = append(list, Uncontended{Server: s, Approach: approach, Release: release, Goroutines: goroutines})
			}
		}
	}
	for _, approach := range []string{"locker", "locker-setnx", "floor"} {
		list = append(list, Uncontended{Server: s, Approach: approach, Release: "lua", Goroutines: goroutines})
	}
	return list
}

func (u Uncontended) withDefaults() Uncontended {
	if u.Release == "" {
		u.Release = "lua"
	}
	if u.Goroutines == 0 {
		u.Goroutines = 1
	}
	if u.Label == "" {
		u.Label = u.Approach
	}
	u.TTL, u.Time = orDefault(u.TTL, DefaultTTL), orDefault(u.Time, DefaultTime)
	return u
}

// Name is AcquireRelease/server=…/approach=…/release=…/goroutines=….
func (u Uncontended) Name() string {
	u = u.withDefaults()
	return fmt.Sprintf("AcquireRelease/server=%s/approach=%s/release=%s/goroutines=%d",
		u.Server.Name, u.Label, u.Release, u.Goroutines)
}

func (u Uncontended) check() error {
	if err := checkCommon(u.Server, u.TTL, u.Time); err != nil {
		return err
	}
	if u.Goroutines < 1 || u.Goroutines > MaxWorkers {
		return badConfig("%d goroutines, allowed are 1 to %d", u.Goroutines, MaxWorkers)
	}
	if _, ok := releaseVerbs[u.Release]; !ok {
		return badConfig("unknown release %q, there are lua, tx and native", u.Release)
	}
	if u.Release == "native" && !u.Server.Native {
		return badConfig("release native: the server has no command for it, or denies it")
	}
	switch u.Approach {
	case "setnx", "setnx-verified", "script":
	case "locker", "locker-setnx", "floor":
		if u.Release != "lua" {
			return badConfig("approach %s has release lua only", u.Approach)
		}
	default:
		return badConfig("unknown approach %q, there are setnx, setnx-verified, script, locker, locker-setnx and floor",
			u.Approach)
	}
	return nil
}

// op makes the op, and a func that ends what it needs.
func (u Uncontended) op() (op opFunc, end func()) {
	pool := u.Server.Pool
	nothing := func() {}
	switch u.Approach {
	case "floor":
		return floor(pool, u.TTL), nothing
	case "locker", "locker-setnx":
		l := &lock.Locker{Pool: pool}
		if u.Approach == "locker-setnx" {
			l.AcquireWith = lock.SetNX
		}
		return lockerOp(l, u.TTL), func() { _ = l.Close() }
	}
	return verbsOp(pool, acquireVerbs[u.Approach], releaseVerbs[u.Release], u.TTL), nothing
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

func verbsOp(pool *redis.Pool, acquire lock.AcquireFunc, release lock.ReleaseFunc, ttl time.Duration) opFunc {
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

// Run measures for Time.
func (u Uncontended) Run(ctx context.Context) (res Result, err error) {
	u = u.withDefaults()
	if err := u.check(); err != nil {
		return Result{}, err
	}
	k := newKeys(u.Goroutines)
	defer k.remove(ctx, u.Server, &err)
	op, end := u.op()
	defer u.Server.endOrCut(ctx, end)
	lat := latencies{hist: newHistogram()}
	meters := make([]*meter, u.Goroutines)
	for w := range meters {
		meters[w] = lat.meter()
	}
	c := crew{server: u.Server, workers: u.Goroutines, time: u.Time}
	c.warm = func(w int) error { return op(k.names[w]) }
	c.work = func(w int) error { return repeat(&c, op, k.names[w], meters[w]) }
	if err := c.run(ctx); err != nil {
		return Result{}, err
	}
	res = Result{Elapsed: c.elapsed, Latency: lat.hist}
	for _, m := range meters {
		m.flush()
		res.Ops += m.n
	}
	return res.withAllocs(u.Server, c.allocs)
}

// repeat reads the clock once an op: the end of one is the begin of the next.
func repeat(c *crew, op opFunc, key string, m *meter) error {
	for at := time.Now(); ; {
		if err := op(key); err != nil {
			return err
		}
		now := time.Now()
		m.record(now.Sub(at))
		if c.stopped.Load() {
			return nil
		}
		at = now
	}
}

// withAllocs is nothing for an embedded server, which allocates in the same process.
func (r Result) withAllocs(s *Server, allocs uint64) (Result, error) {
	if r.Ops == 0 {
		return Result{}, errNoOps
	}
	r.Allocs = -1
	if !s.Embedded() {
		r.Allocs = float64(allocs) / float64(r.Ops)
	}
	return r, nil
}
