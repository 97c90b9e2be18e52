package bench

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// conns are the sockets of the pools, so that all can be cut at once. That is how a workload stops within a second at a
// server that does not answer, while its commands run without a context, which would cost what is not to be measured.
type conns struct {
	mu   sync.Mutex // protects what follows
	list []net.Conn
	over bool
}

// errCut is no error that anybody tries again after.
var errCut = errors.New("bench: the run was stopped, and the connections are cut")

func (cs *conns) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if cs.isOver() {
		return nil, errCut
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.over {
		_ = c.Close()
		return nil, errCut
	}
	cs.list = append(cs.list, c)
	return c, nil
}

func (cs *conns) isOver() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.over
}

// cut closes all connections, those of the future too.
func (cs *conns) cut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.over = true
	for _, c := range cs.list {
		_ = c.Close()
	}
	cs.list = nil
}

// counting makes a dial whose connections count what is sent on them.
func counting(dial dialFunc, sent *atomic.Int64) dialFunc {
	return func(ctx context.Context) (redis.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &countedConn{c, sent}, nil
	}
}

type dialFunc = func(context.Context) (redis.Conn, error)

type countedConn struct {
	redis.Conn
	sent *atomic.Int64
}

// count leaves out what redigo asks for with an empty command: to flush and receive.
func (c *countedConn) count(cmd string) {
	if cmd != "" {
		c.sent.Add(1)
	}
}

func (c *countedConn) Do(cmd string, args ...any) (any, error) {
	c.count(cmd)
	return c.Conn.Do(cmd, args...)
}

func (c *countedConn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	c.count(cmd)
	return redis.DoWithTimeout(c.Conn, timeout, cmd, args...)
}

func (c *countedConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	c.count(cmd)
	return redis.DoContext(c.Conn, ctx, cmd, args...)
}

func (c *countedConn) Send(cmd string, args ...any) error {
	c.count(cmd)
	return c.Conn.Send(cmd, args...)
}

func (c *countedConn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, timeout)
}

func (c *countedConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}
