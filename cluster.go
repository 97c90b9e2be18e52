package redigolock

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/cluster"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/pools"
)

// A Cluster is a pool of connections to a Redis Cluster. A connection leads to the node of the first key that is asked for, and
// follows it when its slot moves:
//
//	c := &redigolock.Cluster{Addrs: []string{"n1:6379", "n2:6379", "n3:6379"}}
//	defer c.Close()
//	l := &redigolock.Locker{Pool: c}
//
// What is sent in one pipeline goes to one node, that of the first key in it; so all its keys must be in one slot. Where the node
// answers MOVED or ASK, the pipeline goes to the node that is named, as far as it was not carried out; a transaction, from WATCH on,
// does not. All else comes back as it is: a command that has had no reply, or one that the cluster cannot serve for now (TRYAGAIN,
// CLUSTERDOWN), is never repeated. A Locker's waiting calls do that, under the rules of the lock.
//
// The map of slots is asked for from several nodes, at first use and when a node redirects, fails or hangs, at most four times a
// second; that of a node that was cut off from most others, or is behind, does not count. docs/cluster.md tells what a failover, and
// a slot that moves, do to a lock.
//
// Fields must not be changed after first use, and a Cluster must not be copied then.
type Cluster struct {
	// Addrs are of some nodes, host[:port]; the default port is 6379. The others are found by them. Required.
	Addrs []string

	// Dial connects to a node; addr is host:port, as the nodes name each other. It sets the password and, with TLS, the name that a
	// certificate must have, and may map addresses (NAT). Nil: by TCP, without a password, with the timeouts of NewPool. It should
	// end with ctx; where it does not, nobody waits for it any longer.
	Dial func(ctx context.Context, addr string) (redis.Conn, error)

	// MaxIdle and MaxActive are how many connections to each node are kept while nobody uses them, and how many there are at most;
	// then callers wait. Zero: 8 and 64. Those of clean-ups, renewals and subscriptions come on top.
	MaxIdle, MaxActive int

	state clusterState
}

type clusterState struct {
	once   sync.Once // for what follows
	engine *cluster.Cluster
	err    error
}

const (
	clusterMaxIdle   = 8
	clusterMaxActive = 64
)

// Get returns a connection. It costs nothing, until the first command, or Bind, finds out where it must lead. The connection has a
// method Bind(keys ...string) error, which connects, and keeps it to the slot of these keys.
func (c *Cluster) Get() redis.Conn {
	conn, err := c.conn(context.Background(), false)
	if err != nil {
		return cluster.NoConn(err)
	}
	return conn
}

// GetContext is Get. It returns an error if ctx has ended, or the Cluster is closed or cannot be used.
func (c *Cluster) GetContext(ctx context.Context) (redis.Conn, error) { return c.conn(ctx, false) }

// DialContext returns a connection that dials, and is not lent by the pools.
func (c *Cluster) DialContext(ctx context.Context) (redis.Conn, error) { return c.conn(ctx, true) }

// Close closes the connections that are not in use; those that are, when they are closed. Later calls get [ErrClosed]. It returns
// nil, also when called again.
func (c *Cluster) Close() error {
	if engine, err := c.engine(); err == nil {
		engine.Close()
	}
	return nil
}

func (c *Cluster) conn(ctx context.Context, own bool) (redis.Conn, error) {
	if ctx.Err() != nil {
		return nil, fault.OfContext(ctx)
	}
	engine, err := c.engine()
	switch {
	case err != nil:
		return nil, err
	case engine.Closed():
		return nil, fmt.Errorf("%w: cluster", ErrClosed)
	}
	return engine.Conn(own), nil
}

func (c *Cluster) engine() (*cluster.Cluster, error) {
	c.state.once.Do(func() { c.state.engine, c.state.err = c.newEngine() })
	return c.state.engine, c.state.err
}

func (c *Cluster) newEngine() (*cluster.Cluster, error) {
	env := cluster.Env{Dial: c.Dial, MaxIdle: c.MaxIdle, MaxActive: c.MaxActive}
	for _, addr := range c.Addrs {
		if addr = pools.WithPort(addr, pools.ClusterPort); addr == "" || slices.Contains(env.Addrs, addr) {
			return nil, fault.Invalidf("cluster", "Cluster.Addrs has an address that is no host:port, or has it twice")
		}
		env.Addrs = append(env.Addrs, addr)
	}
	switch {
	case len(env.Addrs) == 0:
		return nil, fault.Invalidf("cluster", "Cluster.Addrs must name a node")
	case c.MaxIdle < 0 || c.MaxActive < 0:
		return nil, fault.Invalidf("cluster", "Cluster.MaxIdle and MaxActive must not be negative")
	}
	if env.MaxActive == 0 {
		env.MaxActive = clusterMaxActive
	}
	if env.MaxIdle == 0 {
		env.MaxIdle = min(clusterMaxIdle, env.MaxActive)
	}
	if env.Dial == nil {
		env.Dial = pools.Plain
	}
	return cluster.New(env), nil
}

func (c *Cluster) isNil() bool { return c == nil }

// newSource is what the Cluster can do for a Locker.
func (c *Cluster) newSource() *pools.Source {
	s := pools.Empty()
	s.Get, s.Own, s.Polls = c.GetContext, c.DialContext, clusterMaxActive/2
	s.NoWait = "a Cluster, where WAIT, which has no key, may go to another node than the lock"
	if c.MaxActive > 0 {
		s.Polls = max(c.MaxActive/2, 1)
	}
	s.Bind = func(ctx context.Context, conn redis.Conn, key string) error {
		return conn.(*cluster.Conn).BindContext(ctx, key)
	}
	s.Nodes, _ = c.engine()
	return s
}
