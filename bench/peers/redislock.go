package peers

import (
	"context"
	"time"

	"github.com/bsm/redislock"
	goredis "github.com/redis/go-redis/v9"

	"github.com/redigolock/redigolock/bench"
)

// A redislockRival is bsm/redislock on one go-redis client, with its pool as openGoRedis has it.
type redislockRival struct {
	c       *goredis.Client
	locks   *redislock.Client
	ttl     time.Duration
	backoff func() redislock.RetryStrategy // a new one for each wait: they count
}

// openRedislock polls with LinearBackoff(pollPause); by default redislock does not wait at all.
func openRedislock(config bench.RivalConfig) (bench.Rival, error) {
	return dialRedislock(config, func() redislock.RetryStrategy { return redislock.LinearBackoff(pollPause) })
}

// openRedislockLinear100 polls with LinearBackoff(100 ms), as the example of a retry in its manual does, without the
// example's limit of 3.
func openRedislockLinear100(config bench.RivalConfig) (bench.Rival, error) {
	return dialRedislock(config, func() redislock.RetryStrategy {
		return redislock.LinearBackoff(100 * time.Millisecond)
	})
}

// openRedislockExp polls with ExponentialBackoff from 16 ms, below which its manual advises against it, to 250 ms.
func openRedislockExp(config bench.RivalConfig) (bench.Rival, error) {
	return dialRedislock(config, func() redislock.RetryStrategy {
		return redislock.ExponentialBackoff(16*time.Millisecond, 250*time.Millisecond)
	})
}

func dialRedislock(config bench.RivalConfig, backoff func() redislock.RetryStrategy) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	return &redislockRival{c, redislock.New(c), config.TTL, backoff}, nil
}

func (r *redislockRival) TryAcquire(key string) (func() error, error) {
	return r.obtain(noContext, key, nil)
}

// Acquire gives the wait a deadline that is far away: where there is none, redislock takes the ttl for one.
func (r *redislockRival) Acquire(ctx context.Context, key string) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, bench.MaxTTL)
	defer cancel()
	return r.obtain(ctx, key, &redislock.Options{RetryStrategy: r.backoff()})
}

func (r *redislockRival) obtain(ctx context.Context, key string, o *redislock.Options) (func() error, error) {
	l, err := r.locks.Obtain(ctx, key, r.ttl, o)
	if err != nil {
		return nil, err
	}
	return func() error { return l.Release(noContext) }, nil
}

func (r *redislockRival) Close() { _ = r.c.Close() }
