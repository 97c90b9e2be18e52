package sentinel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Conn is a connection to the master of a generation. It has the timeouts and contexts of the one inside, and sees when
// the server says that it is a replica now.
type Conn struct {
	redis.Conn
	group *Group
	gen   uint64

	mu     sync.Mutex // held while it is cut, and while it is closed
	closed bool
}

// Outdated reports whether there was another master since it was dialled.
func (c *Conn) Outdated() bool { return c.gen != c.group.gen.Load() }

func (c *Conn) Close() error {
	c.group.forget(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.Conn.Close()
}

// cut ends what is under way on it.
func (c *Conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		wire.Cut(c.Conn)
	}
}

func (c *Conn) Do(cmd string, args ...any) (any, error) {
	return c.see(c.Conn.Do(cmd, args...))
}

func (c *Conn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	return c.see(redis.DoWithTimeout(c.Conn, timeout, cmd, args...))
}

func (c *Conn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return c.see(redis.DoContext(c.Conn, ctx, cmd, args...))
}

func (c *Conn) Receive() (any, error) { return c.see(c.Conn.Receive()) }

func (c *Conn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	return c.see(redis.ReceiveWithTimeout(c.Conn, timeout))
}

func (c *Conn) ReceiveContext(ctx context.Context) (any, error) {
	return c.see(redis.ReceiveContext(c.Conn, ctx))
}

// see looks for what a master that was demoted says to a write.
func (c *Conn) see(reply any, err error) (any, error) {
	if err == nil {
		return reply, nil
	}
	if re, ok := fault.Reply(err); ok && fault.Word(fault.Bare(re)) == "READONLY" {
		c.demoted()
	}
	return reply, err
}

func (c *Conn) demoted() { c.group.outdate(c.gen) }

// A bindingConn leads to one node of a cluster.
type bindingConn struct{ *Conn }

type binder interface{ Bind(keys ...string) error }

func (c bindingConn) Bind(keys ...string) error { return c.Conn.Conn.(binder).Bind(keys...) }

// Current returns an error if the connection leads to a master of before, or is broken. It does no I/O. What is none of a
// Group's, such as one that was wrapped, is refused only if it is broken: those of before have been cut.
func Current(c redis.Conn) error {
	if x, ok := c.(interface{ Outdated() bool }); ok && x.Outdated() {
		return errOutdated
	}
	return c.Err()
}

// TestRole is Current, and where nothing else notices a failover it asks, once every second, the connection for its role.
func (g *Group) TestRole(ctx context.Context, c redis.Conn) error {
	if err := Current(c); err != nil {
		return err
	}
	if g.env.Watch {
		return nil
	}
	now, last := time.Now(), g.tested.Load()
	if now.Sub(time.Unix(0, last)) < time.Second || !g.tested.CompareAndSwap(last, now.UnixNano()) {
		return nil
	}
	err := role(ctx, c)
	if x, ok := c.(interface{ demoted() }); ok && errors.Is(err, errEarly) {
		x.demoted()
	}
	return err
}

// cutWith cuts the connection when ctx ends. The func that it returns must be called before the connection is closed.
func cutWith(ctx context.Context, c redis.Conn) (stop func()) {
	return wire.OnCancel(ctx, func() { wire.Cut(c) })
}

// do sends a command and waits for its reply until ctx ends.
func do(ctx context.Context, c redis.Conn, cmd string, args ...any) (any, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	stop := cutWith(ctx, c)
	reply, err := c.Do(cmd, args...)
	stop()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return reply, err
}

func first(values []any) any {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}
