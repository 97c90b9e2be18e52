package peers

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/redigolock/redigolock/bench"
)

// An article is a scheme of the articles on redigo, on the run's unbounded pool: each command borrows a connection. Of
// those that only delete the key when they release, or have a fixed value, it has the acquire, with a UUID; all release
// by a script that compares, as the better ones do, or there would be no exclusion to measure.
type article struct {
	pool    *redis.Pool
	ttl     time.Duration
	pause   time.Duration // between two tries
	acquire func(a *article, key, token string) error
}

// openArticleSetNX is SET NX PX, with a pause of 1 s, the only one that an article states.
func openArticleSetNX(c bench.RivalConfig) (bench.Rival, error) {
	return &article{c.Server.Pool, c.TTL, time.Second, (*article).setNX}, nil
}

// openArticleScript is EVAL, with the text each time, of SETNX and EXPIRE; with pollPause, for the article does not
// wait.
func openArticleScript(c bench.RivalConfig) (bench.Rival, error) {
	return &article{c.Server.Pool, c.TTL, pollPause, (*article).script}, nil
}

// openArticleVerified is SET NX PX, and then a GET whose value must be one's own: the double check, as a round trip of
// its own; with pollPause, for the article leaves the pause to the reader.
func openArticleVerified(c bench.RivalConfig) (bench.Rival, error) {
	return &article{c.Server.Pool, c.TTL, pollPause, (*article).verified}, nil
}

func (a *article) do(cmd string, args ...any) (any, error) {
	c := a.pool.Get()
	defer c.Close()
	return c.Do(cmd, args...)
}

func (a *article) setNX(key, token string) error {
	_, err := redis.String(a.do("SET", key, token, "NX", "PX", a.ttl.Milliseconds()))
	if err == redis.ErrNil {
		err = errHeld
	}
	return err
}

const articleText = `
if redis.call("setnx",KEYS[1],ARGV[1]) == 1 then
  redis.call("expire",KEYS[1],ARGV[2])
  return 1
end
return 0`

// script has whole seconds.
func (a *article) script(key, token string) error {
	n, err := redis.Int(a.do("EVAL", articleText, 1, key, token, seconds(a.ttl)))
	if err == nil && n != 1 {
		err = errHeld
	}
	return err
}

func (a *article) verified(key, token string) error {
	if err := a.setNX(key, token); err != nil {
		return err
	}
	value, err := redis.String(a.do("GET", key))
	if err == redis.ErrNil || err == nil && value != token {
		err = errHeld
	}
	return err
}

var articleRelease = redis.NewScript(1, releaseText)

func (a *article) release(key, token string) error {
	c := a.pool.Get()
	defer c.Close()
	return released(redis.Int64(articleRelease.Do(c, key, token)))
}

func (a *article) TryAcquire(key string) (func() error, error) {
	token := uuid.NewString()
	if err := a.acquire(a, key, token); err != nil {
		return nil, err
	}
	return func() error { return a.release(key, token) }, nil
}

func (a *article) Acquire(ctx context.Context, key string) (func() error, error) {
	return poll(ctx, a.pause, func() (func() error, error) { return a.TryAcquire(key) })
}

// Close leaves the pool to the run.
func (a *article) Close() {}
