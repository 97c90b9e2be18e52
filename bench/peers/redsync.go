package peers

import (
	"context"
	"math"
	"slices"

	"github.com/go-redsync/redsync/v4"
	rsgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	rsredigo "github.com/go-redsync/redsync/v4/redis/redigo"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

// A redsyncRival is redsync on one server, a new Mutex for each lock, as its manual has it. It polls without end, by
// default 32 times. After each try that fails it sends a release.
type redsyncRival struct {
	rs        *redsync.Redsync
	try       []redsync.Option
	patient   []redsync.Option
	closePool func()
}

// newRedsync polls as the options say, else as by default: with 50 to 250 ms between two tries, at random, each of which
// may take a twentieth of the ttl.
func newRedsync(config bench.RivalConfig, rs *redsync.Redsync, closePool func(),
	options ...redsync.Option) *redsyncRival {
	options = append(options, redsync.WithExpiry(config.TTL))
	return &redsyncRival{
		rs: rs, closePool: closePool,
		try:     append(slices.Clip(options), redsync.WithTries(1)),
		patient: append(slices.Clip(options), redsync.WithTries(math.MaxInt)),
	}
}

// fewWaiters polls with pollPause. A try may take half of the ttl: that a twentieth is the default is for other servers
// to be asked in time.
func fewWaiters() []redsync.Option {
	return []redsync.Option{redsync.WithRetryDelay(pollPause), redsync.WithTimeoutFactor(0.5)}
}

// openRedsync is on redigo, on the run's unbounded pool.
func openRedsync(config bench.RivalConfig) (bench.Rival, error) {
	return newRedsync(config, redsync.New(rsredigo.NewPool(config.Server.Pool)), func() {}, fewWaiters()...), nil
}

// openRedsyncDefault is openRedsync with redsync's own delay between two tries, and its own time for each.
func openRedsyncDefault(config bench.RivalConfig) (bench.Rival, error) {
	return newRedsync(config, redsync.New(rsredigo.NewPool(config.Server.Pool)), func() {}), nil
}

// openRedsyncPool16 is on redigo, on a pool of 16 connections, for which one waits.
func openRedsyncPool16(config bench.RivalConfig) (bench.Rival, error) {
	pool := &redis.Pool{DialContext: config.Server.Pool.DialContext, MaxActive: 16, MaxIdle: 16, Wait: true}
	closePool := func() { _ = pool.Close() }
	return newRedsync(config, redsync.New(rsredigo.NewPool(pool)), closePool, fewWaiters()...), nil
}

// openRedsyncGoRedis is on go-redis, with its pool as openGoRedis has it.
func openRedsyncGoRedis(config bench.RivalConfig) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	return newRedsync(config, redsync.New(rsgoredis.NewPool(c)), func() { _ = c.Close() }, fewWaiters()...), nil
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
