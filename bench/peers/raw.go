package peers

import (
	"context"
	"errors"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/redis/rueidis"

	"github.com/redigolock/redigolock/bench"
)

// releaseText is the release of the Redis manual, as redigo by hand has it.
const releaseText = `
if redis.call("get",KEYS[1]) == ARGV[1] then
  return redis.call("del",KEYS[1])
else
  return 0
end`

var errNotHeld = errors.New("peers: not held")

// noContext is what is cheapest for both clients: they look at a context that can end more often.
var noContext = context.Background()

// released turns the script's reply into an error.
func released(n int64, err error) error {
	if err == nil && n != 1 {
		err = errNotHeld
	}
	return err
}

// openRueidis is raw rueidis: SET NX PX and EVALSHA on one client with its automatic pipelining, as it is by default, in
// which goroutines share connections. Client-side caching is off, which locks have no use for and the server would
// have to account for. Lanes is the number of connections, a power of 2; zero: rueidis's own default, which is that of
// the processors, at most 4.
func openRueidis(u bench.Uncontended) (func(key string) error, func(), error) {
	o, err := rueidis.ParseURL(u.Server.URL)
	if err != nil {
		return nil, nil, err
	}
	o.DisableCache = true
	if u.Lanes > 0 {
		if o.PipelineMultiplex = log2(u.Lanes); o.PipelineMultiplex == 0 {
			o.PipelineMultiplex = -1 // 0 is the default, below 0 is one
		}
	}
	c, err := rueidis.NewClient(o)
	if err != nil {
		return nil, nil, err
	}
	sha, err := c.Do(noContext, c.B().ScriptLoad().Script(releaseText).Build()).ToString()
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return func(key string) error {
		token := uuid.NewString()
		set := c.B().Set().Key(key).Value(token).Nx().PxMilliseconds(u.TTL.Milliseconds()).Build()
		if err := c.Do(noContext, set).Error(); err != nil {
			return err
		}
		return released(c.Do(noContext, c.B().Evalsha().Sha1(sha).Numkeys(1).Key(key).Arg(token).Build()).AsInt64())
	}, c.Close, nil
}

func log2(n int) (log int) {
	for ; n > 1; n /= 2 {
		log++
	}
	return log
}

// openGoRedis is raw go-redis: SET NX PX and EVALSHA on one client whose pool has PoolSize connections; zero:
// go-redis's own default, 10 for each processor. What it would say about itself and ask for on each connection is off.
func openGoRedis(u bench.Uncontended) (func(key string) error, func(), error) {
	c, err := goRedisClient(u)
	if err != nil {
		return nil, nil, err
	}
	return goRedisOp(u, c, func() { _ = c.Close() })
}

// openGoRedisAuto is the same through go-redis's automatic pipelining, by default one connection, which it calls
// experimental.
func openGoRedisAuto(u bench.Uncontended) (func(key string) error, func(), error) {
	c, err := goRedisClient(u)
	if err != nil {
		return nil, nil, err
	}
	auto, err := c.AutoPipeline()
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return goRedisOp(u, auto, func() {
		_ = auto.Close()
		_ = c.Close()
	})
}

func goRedisClient(u bench.Uncontended) (*goredis.Client, error) {
	o, err := goredis.ParseURL(u.Server.URL)
	if err != nil {
		return nil, err
	}
	o.PoolSize = u.PoolSize
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return goredis.NewClient(o), nil
}

func goRedisOp(u bench.Uncontended, c goredis.Cmdable, end func()) (func(key string) error, func(), error) {
	sha, err := c.ScriptLoad(noContext, releaseText).Result()
	if err != nil {
		end()
		return nil, nil, err
	}
	args := goredis.SetArgs{Mode: "NX", TTL: u.TTL}
	return func(key string) error {
		token := uuid.NewString()
		if err := c.SetArgs(noContext, key, token, args).Err(); err != nil {
			return err
		}
		return released(c.EvalSha(noContext, sha, []string{key}, token).Int64())
	}, end, nil
}
