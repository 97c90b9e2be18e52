package peers

import (
	"context"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/redigolock/redigolock/bench"
)

// A goRedisSetNX is what articles have for go-redis: SetNX with a ttl, and a script that deletes the key if it has the
// value. The value is a UUID, where some articles have a fixed one; a release of a lock that is not held is an error,
// which they call a success. It polls with pollPause, for how to wait is left to the reader.
type goRedisSetNX struct {
	c       *goredis.Client
	release *goredis.Script
	ttl     time.Duration
}

func openGoRedisSetNX(config bench.RivalConfig) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	return &goRedisSetNX{c, goredis.NewScript(releaseText), config.TTL}, nil
}

// dialGoRedis makes a client with a pool as it is by default: of 10 connections for each processor, for which one waits.
// With a connection for each of 128 goroutines, on 2 processors, it was not measurably faster, alone and in redislock;
// with one for each of 4096 waiters of a key redislock was slower. What go-redis would say about itself, and ask for, on
// each connection is switched off.
func dialGoRedis(config bench.RivalConfig) (*goredis.Client, error) {
	o, err := goredis.ParseURL(config.Server.URL)
	if err != nil {
		return nil, err
	}
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return goredis.NewClient(o), nil
}

func (g *goRedisSetNX) TryAcquire(key string) (func() error, error) {
	token := uuid.NewString()
	ok, err := g.c.SetNX(noContext, key, token, g.ttl).Result()
	if err == nil && !ok {
		err = errHeld
	}
	if err != nil {
		return nil, err
	}
	return func() error { return released(g.release.Run(noContext, g.c, []string{key}, token).Int64()) }, nil
}

func (g *goRedisSetNX) Acquire(ctx context.Context, key string) (func() error, error) {
	return poll(ctx, pollPause, func() (func() error, error) { return g.TryAcquire(key) })
}

func (g *goRedisSetNX) Close() { _ = g.c.Close() }
