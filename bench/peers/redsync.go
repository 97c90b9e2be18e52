package peers

import (
	"context"
	"math"

	"github.com/go-redsync/redsync/v4"
	rsgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	rsredigo "github.com/go-redsync/redsync/v4/redis/redigo"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

// A redsyncRival is redsync on one server, a new Mutex for each lock, as its manual has it. It polls, by default 32
// times with 50 to 250 ms between; here without end, and with pollPause. A try may take half of the ttl, by default a
// twentieth, which is for other servers to be asked in time. After each try that fails it sends a release.
type redsyncRival struct {
	rs        *redsync.Redsync
	try       []redsync.Option
	patient   []redsync.Option
	closePool func()
}

func newRedsync(config bench.RivalConfig, rs *redsync.Redsync, closePool func()) *redsyncRival {
	expiry, timeout := redsync.WithExpiry(config.TTL), redsync.WithTimeoutFactor(0.5)
	return &redsyncRival{
		rs: rs, closePool: closePool,
		try:     []redsync.Option{expiry, timeout, redsync.WithTries(1)},
		patient: []redsync.Option{expiry, timeout, redsync.WithTries(math.MaxInt), redsync.WithRetryDelay(pollPause)},
	}
}

// openRedsync is on redigo, on the run's unbounded pool.
func openRedsync(config bench.RivalConfig) (bench.Rival, error) {
	return newRedsync(config, redsync.New(rsredigo.NewPool(config.Server.Pool)), func() {}), nil
}

// openRedsyncPool16 is on redigo, on a pool of 16 connections, for which one waits.
func openRedsyncPool16(config bench.RivalConfig) (bench.Rival, error) {
	pool := &redis.Pool{DialContext: config.Server.Pool.DialContext, MaxActive: 16, MaxIdle: 16, Wait: true}
	return newRedsync(config, redsync.New(rsredigo.NewPool(pool)), func() { _ = pool.Close() }), nil
}

// openRedsyncGoRedis is on go-redis, with its pool as openGoRedis has it.
func openRedsyncGoRedis(config bench.RivalConfig) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	return newRedsync(config, redsync.New(rsgoredis.NewPool(c)), func() { _ = c.Close() }), nil
}

func (r *redsyncRival) TryAcquire(key string) (func() error, error) {
	m := r.rs.NewMutex(key, r.try...)
	if err := m.TryLockContext(noContext); err != nil {
		return nil, err
	}
	return func() error { return unlock(m) }, nil
}

func (r *redsyncRival) Acquire(ctx context.Context, key string) (func() error, error) {
	m := r.rs.NewMutex(key, r.patient...)
	if err := m.LockContext(ctx); err != nil {
		return nil, err
	}
	return func() error { return unlock(m) }, nil
}

func unlock(m *redsync.Mutex) error {
	ok, err := m.UnlockContext(noContext)
	if err == nil && !ok {
		err = errNotHeld
	}
	return err
}

func (r *redsyncRival) Close() { r.closePool() }
