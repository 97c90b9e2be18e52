package peers

import (
	"errors"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/redigolock/redigolock/bench"
)

// A goRedisClient is raw go-redis: SET NX PX and EVALSHA.
type goRedisClient struct {
	oneTry
	c     goredis.Cmdable
	sha   string
	args  goredis.SetArgs
	close func()
}

// openGoRedis is one client with a pool as it is by default: of 10 connections for each processor, for which one waits.
// With a connection for each of 128 goroutines, on 2 processors, it was not measurably faster, alone and in redislock
// and redsync; with one for each of 4096 waiters of a key these two were slower.
func openGoRedis(config bench.RivalConfig) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	return newGoRedis(config, c, func() { _ = c.Close() })
}

// openGoRedisAuto is the same through go-redis's automatic pipelining, by default one connection, which it calls
// experimental.
func openGoRedisAuto(config bench.RivalConfig) (bench.Rival, error) {
	c, err := dialGoRedis(config)
	if err != nil {
		return nil, err
	}
	auto, err := c.AutoPipeline()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return newGoRedis(config, auto, func() {
		_ = auto.Close()
		_ = c.Close()
	})
}

// dialGoRedis switches off what go-redis would say about itself, and ask for, on each connection.
func dialGoRedis(config bench.RivalConfig) (*goredis.Client, error) {
	o, err := goredis.ParseURL(config.Server.URL)
	if err != nil {
		return nil, err
	}
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return goredis.NewClient(o), nil
}

func newGoRedis(config bench.RivalConfig, c goredis.Cmdable, end func()) (bench.Rival, error) {
	sha, err := c.ScriptLoad(noContext, releaseText).Result()
	if err != nil {
		end()
		return nil, err
	}
	return &goRedisClient{c: c, sha: sha, args: goredis.SetArgs{Mode: "NX", TTL: config.TTL}, close: end}, nil
}

func (g *goRedisClient) TryAcquire(key string) (func() error, error) {
	token := uuid.NewString()
	if err := g.c.SetArgs(noContext, key, token, g.args).Err(); err != nil {
		return nil, err
	}
	return func() error { return released(g.c.EvalSha(noContext, g.sha, []string{key}, token).Int64()) }, nil
}

func (g *goRedisClient) Close() { g.close() }
