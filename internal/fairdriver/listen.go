package fairdriver

import (
	"context"
	"fmt"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/subscription"
)

// ListenTo sets Dial, Nodes, Place and Another as they are for a pool.
func (e *Env) ListenTo(s *pools.Source) {
	e.Another, e.Place = s.Another, func(string) any { return s.Another() }
	e.Dial = func(ctx context.Context, server string) (redis.Conn, error) { return dial(ctx, s, server) }
	if at := s.Nodes; at != nil {
		e.Another, e.Place = at.Another, func(key string) any { return at.Place(key) }
		e.Nodes = &subscription.Nodes{
			Of: func(ctx context.Context, key string) (string, error) {
				addr, err := at.NodeOf(ctx, key)
				if err != nil { // that there is none for now is not for good
					return "", fault.NoConnection(context.Background(), "subscribe", key, err)
				}
				return addr, nil
			},
			Where:      at.Where,
			Redirected: at.Redirected,
		}
	}
}

func dial(ctx context.Context, s *pools.Source, server string) (redis.Conn, error) {
	if at := s.Nodes; at != nil {
		c, err := at.DialNode(ctx, server)
		if err != nil && !fault.RefusedForGood(err) { // the node may be gone: the map says where to go then
			err = fmt.Errorf("%w: %s: %w", fault.Unavailable, server, err)
		}
		return c, err
	}
	c, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if s.Binds() {
		_ = c.Close()
		return nil, fmt.Errorf("%w: a fair Locker on a pool whose connections are bound to a node: use a Cluster", fault.Unsupported)
	}
	return c, nil
}
