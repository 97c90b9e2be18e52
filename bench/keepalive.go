package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gomodule/redigo/redis"
)

// KeepAlive is a number of locks on one server that are kept alive while nothing else is done. An op is one renewal. If
// a lock is lost, Run fails, and gives no figure.
//
// The locks are acquired first, as fast as 8 goroutines can, which must not take longer than half of the ttl. So all
// are due again close together, as after the restart of a service.
type KeepAlive struct {
	Server *Server       // Required.
	Locks  int           // 1 to 1,000,000. Zero: 1000.
	TTL    time.Duration // 10 ms to 24 h in whole milliseconds. Zero: DefaultKeepTTL.
	Time   time.Duration // How long a Run measures, the ttl at least; whole halves of the ttl are best. Zero: the ttl.
	// Way is locker: Lock.KeepAlive of one Locker; loop: by hand, a goroutine and a ticker for each lock, a round trip
	// for each renewal; or the name of a RivalKind that can keep locks alive. Required.
	Way string
}

// What zero means in a KeepAlive, and what it may have.
const (
	DefaultKeepTTL = 30 * time.Second
	defaultLocks   = 1000
	MaxLocks       = 1_000_000
)

// keepConns bounds the pool that the locks share. Without a bound, a goroutine for each lock would mean a connection
// for each when all are due at once.
const keepConns = 64

// keepCrew is how many goroutines acquire.
const keepCrew = 8

// A Keeper is one way to keep locks alive.
type Keeper interface {
	// Acquire obtains the lock. It is called by several goroutines, for a different lock each.
	Acquire(i int) error
	// Keep keeps it alive from now on. It is called in the same way, once all locks are acquired.
	Keep(i int) error
	// End ends all renewals, and returns when nothing more is sent. The keys may stay.
	End()
}

// Keeping is what a Keeper works with, and tells.
type Keeping struct {
	Server *Server
	Pool   *redis.Pool // of 64 connections, for which one waits
	Keys   []string    // one for each lock, with its number behind the last colon; who has other keys replaces them
	TTL    time.Duration

	mu      sync.Mutex // protects what follows
	ops     int64
	late    *hdrhistogram.Histogram
	over    bool // no renewal counts any more
	lost    int
	lostErr error         // of the first
	failed  chan struct{} // closed with it
}

// Renewed tells that a lock was renewed just now, and that it had been due then: when half of its ttl was left.
func (k *Keeping) Renewed(due time.Time) {
	late := time.Since(due)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.over {
		k.ops++
		record(k.late, late)
	}
}

// Lost tells that a lock was not renewed for good.
func (k *Keeping) Lost(i int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost++; k.lost == 1 {
		k.lostErr = fmt.Errorf("%s: %w", k.Keys[i], err)
		close(k.failed)
	}
}

// count begins to count, or ends it.
func (k *Keeping) count(over bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over = over; !over {
		k.ops = 0
		k.late.Reset()
	}
}

func (k *Keeping) loss() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == 0 {
		return nil
	}
	return fmt.Errorf("bench: %d of %d locks were lost, no figures; the first was %w", k.lost, len(k.Keys), k.lostErr)
}

// Kept is what one Run of a KeepAlive has measured beside Result.
type Kept struct {
	// Bytes is what a lock takes beyond its handle while it is kept alive: heap and stacks after a garbage collection,
	// at the end of the time, less the same before the first was kept. It contains what all share, as connections.
	Bytes float64
	// Goroutines are those at the end of the time, less those before the first was kept. A miniredis adds its own, one for
	// each connection.
	Goroutines int
	// Lost is the number of locks that were lost. With one, there is no Result.
	Lost int
}

func (k KeepAlive) withDefaults() KeepAlive {
	if k.Locks == 0 {
		k.Locks = defaultLocks
	}
	k.TTL = orDefault(k.TTL, DefaultKeepTTL)
	k.Time = orDefault(k.Time, k.TTL)
	return k
}

// Name is KeepAlive/server=…/way=…/locks=…/ttl=….
func (k KeepAlive) Name() string {
	k = k.withDefaults()
	return fmt.Sprintf("KeepAlive/server=%s/way=%s/locks=%d/ttl=%v%s", k.Server.Name, k.Way, k.Locks, k.TTL, k.Server.suffix())
}

func (k KeepAlive) check() error {
	if err := checkCommon(k.Server, k.TTL, k.Time); err != nil {
		return err
	}
	if err := checkOneServer(k.Server, "KeepAlive"); err != nil {
		return err
	}
	switch {
	case k.Locks < 1 || k.Locks > MaxLocks:
		return badConfig("%d locks, allowed are 1 to %d", k.Locks, MaxLocks)
	case k.Time < k.TTL:
		return badConfig("a time of %v: locks of %v need at least as long to be renewed twice", k.Time, k.TTL)
	case !slices.Contains(KeepingWays(), k.Way):
		return badConfig("unknown way %q, there are %q", k.Way, KeepingWays())
	}
	return nil
}

// KeepingWays are the names of our own ways, and of the rivals that can keep locks alive.
func KeepingWays() []string {
	list := []string{"locker", "loop"}
	for _, k := range RivalKinds() {
		if k.Keep != nil {
			list = append(list, k.Name)
		}
	}
	return list
}

// open makes what the way needs.
func (k KeepAlive) open(keeping *Keeping) (Keeper, error) {
	switch k.Way {
	case "locker":
		return openLockerKeeper(keeping)
	case "loop":
		return openLoopKeeper(keeping)
	}
	kind, _ := rivalNamed(k.Way)
	return kind.Keep(keeping)
}

// Run measures for Time. Result.Latency is how late the renewals were: from when half of the ttl was left until the
// reply was there, zero for those that came before. With locker, it is half of the ttl before the Deadline until then;
// with the others half of the ttl after the last send.
func (k KeepAlive) Run(ctx context.Context) (res Result, err error) {
	k = k.withDefaults()
	if err := k.check(); err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, stoppedRun(ctx)
	}
	keys := newKeys(k.Locks)
	pool := k.Server.bounded(keepConns)
	defer pool.Close()
	r := &keepRun{k, &Keeping{Server: k.Server, Pool: pool, Keys: keys.names, TTL: k.TTL, late: newHistogram(), failed: make(chan struct{})}, nil}
	if r.keeper, err = k.open(r.keeping); err != nil {
		return Result{}, err
	}
	keys.names = r.keeping.Keys
	defer keys.remove(ctx, k.Server, &err)
	defer r.keeper.End()
	return r.run(ctx)
}

// A keepRun is a Run.
type keepRun struct {
	KeepAlive
	keeping *Keeping
	keeper  Keeper
}

func (r *keepRun) run(ctx context.Context) (Result, error) {
	began := time.Now()
	if err := r.each(ctx, r.keeper.Acquire); err != nil {
		return Result{}, err
	}
	if took := time.Since(began); took > r.TTL/2 {
		return Result{}, fmt.Errorf("bench: it took %v to acquire %d locks, more than half of their ttl: choose a longer one",
			took.Round(time.Millisecond), r.Locks)
	}
	_ = r.Server.usage(ctx) // makes the connection
	bytes, goroutines := memory(), runtime.NumGoroutine()
	if err := r.each(ctx, r.keeper.Keep); err != nil {
		return Result{}, err
	}
	res := r.clock(ctx)
	if ctx.Err() != nil {
		return Result{}, stoppedRun(ctx)
	}
	res.Kept.Goroutines = runtime.NumGoroutine() - goroutines
	res.Kept.Bytes = float64(memory()-bytes) / float64(r.Locks)
	if err := errors.Join(r.keeping.loss(), r.present(ctx)); err != nil {
		return Result{}, err
	}
	if res.Ops == 0 {
		return Result{}, errNoOps
	}
	return res, nil
}

// each calls f for each lock, by a few goroutines, until the first error.
func (r *keepRun) each(ctx context.Context, f func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	failed, fail := context.WithCancelCause(bg)
	defer fail(nil)
	for range keepCrew {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(r.Locks) && ctx.Err() == nil && failed.Err() == nil; i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil {
					fail(err)
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return stoppedRun(ctx)
	}
	return context.Cause(failed)
}

// clock lets the time pass, and takes what must be taken at its both ends.
func (r *keepRun) clock(ctx context.Context) Result {
	m := newMeter(r.Server, r.Way)
	m.start(ctx)
	timer := time.NewTimer(r.Time)
	defer timer.Stop()
	r.keeping.count(false)
	select {
	case <-timer.C:
	case <-r.keeping.failed:
	case <-ctx.Done():
	}
	r.keeping.count(true)
	spent := m.stop(ctx)
	return Result{Ops: r.keeping.ops, Elapsed: spent.elapsed, Latency: r.keeping.late, Allocs: -1, CPU: &spent.cpu, Kept: &Kept{}}
}

// memory is what the process has in use, less garbage. Two collections also empty the sync.Pools.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// present fails if a key is gone: a way that does not notice must not look good.
func (r *keepRun) present(ctx context.Context) error {
	gone := 0
	for chunk := range slices.Chunk(r.keeping.Keys, keysAtOnce) {
		err := r.Server.administer(ctx, func(c redis.Conn, timeout time.Duration) error {
			n, err := redis.Int(redis.DoWithTimeout(c, timeout, "EXISTS", redis.Args{}.AddFlat(chunk)...))
			gone += len(chunk) - n
			return err
		})
		if err != nil {
			return fmt.Errorf("bench: look for the keys of a run: %w", err)
		}
	}
	if gone > 0 {
		return fmt.Errorf("bench: the keys of %d of %d locks were gone in the end, no figures", gone, r.Locks)
	}
	return nil
}
