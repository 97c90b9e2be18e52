package peers

import (
	"context"
	"time"

	"github.com/bsm/redislock"
	goredis "github.com/redis/go-redis/v9"

	"github.com/redigolock/redigolock/bench"
)

// A redislockRival is bsm/redislock on one go-redis client, which polls with LinearBackoff(pollPause); by default
// redislock does not wait at all.
type redislockRival struct {
	c     *goredis.Client
	locks *redislock.Client
	ttl   time.Duration
}

func openRedislock(config bench.RivalConfig) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	return &redislockRival{c, redislock.New(c), config.TTL}, nil
}

func (r *redislockRival) TryAcquire(key string) (func() error, error) {
	return r.obtain(noContext, key, nil)
}

// Acquire gives the wait a deadline that is far away: where there is none, redislock takes the ttl for one.
func (r *redislockRival) Acquire(ctx context.Context, key string) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, bench.MaxTTL)
	defer cancel()
	return r.obtain(ctx, key, &redislock.Options{RetryStrategy: redislock.LinearBackoff(pollPause)})
}

func (r *redislockRival) obtain(ctx context.Context, key string, o *redislock.Options) (func() error, error) {
	l, err := r.locks.Obtain(ctx, key, r.ttl, o)
	if err != nil {
		return nil, err
	}
	return func() error { return l.Release(noContext) }, nil
}

func (r *redislockRival) Close() { _ = r.c.Close() }
