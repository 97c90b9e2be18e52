package peers

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/redigolock/redigolock/bench"
)

// A rueidisClient is raw rueidis: SET NX PX and EVALSHA on one client with its automatic pipelining, in which
// goroutines share as many connections as there are processors, at most 4. Client-side caching is off, which locks have
// no use for and the server would have to account for.
type rueidisClient struct {
	c   rueidis.Client
	sha string
	ttl time.Duration
}

func openRueidis(config bench.RivalConfig) (bench.Rival, error) {
	o, err := rueidis.ParseURL(config.Server.URL)
	if err != nil {
		return nil, err
	}
	o.DisableCache = true
	c, err := rueidis.NewClient(o)
	if err != nil {
		return nil, err
	}
	sha, err := c.Do(noContext, c.B().ScriptLoad().Script(releaseText).Build()).ToString()
	if err != nil {
		c.Close()
		return nil, err
	}
	return &rueidisClient{c: c, sha: sha, ttl: config.TTL}, nil
}

func (r *rueidisClient) TryAcquire(key string) (func() error, error) {
	token := uuid.NewString()
	set := r.c.B().Set().Key(key).Value(token).Nx().PxMilliseconds(r.ttl.Milliseconds()).Build()
	if err := r.c.Do(noContext, set).Error(); err != nil {
		return nil, err
	}
	return func() error {
		return released(r.c.Do(noContext, r.c.B().Evalsha().Sha1(r.sha).Numkeys(1).Key(key).Arg(token).Build()).AsInt64())
	}, nil
}

var errOneTry = errors.New("peers: a client has no wait of its own")

func (r *rueidisClient) Acquire(context.Context, string) (func() error, error) { return nil, errOneTry }

func (r *rueidisClient) Close() { r.c.Close() }
