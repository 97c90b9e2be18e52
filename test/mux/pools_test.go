package mux

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// plainConn hides everything but redis.Conn's own methods.
type plainConn struct{ redis.Conn }

// timeoutConn has timeouts, and knows no contexts.
type timeoutConn struct{ redis.Conn }

func (c timeoutConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, cmd, args...)
}

func (c timeoutConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

// getPool has nothing but Get, as redisc.Cluster has.
type getPool struct{ pool *redis.Pool }

func (p getPool) Get() redis.Conn { return p.pool.Get() }

// contextPool has Get and GetContext.
type contextPool struct{ getPool }

func (p contextPool) GetContext(ctx context.Context) (redis.Conn, error) {
	return p.pool.GetContext(ctx)
}

// A writes counts the writes to all connections of its pool.
type writes struct{ n atomic.Int64 }

type wiredConn struct {
	net.Conn
	w *writes
}

func (c *wiredConn) Write(b []byte) (int, error) {
	c.w.n.Add(1)
	return c.Conn.Write(b)
}

// now is how many writes have been made.
func (w *writes) now() int { return int(w.n.Load()) }

func (w *writes) pool(addr string) *redis.Pool {
	dial := func(network, addr string) (net.Conn, error) {
		nc, err := net.DialTimeout(network, addr, 5*time.Second)
		if err != nil {
			return nil, err
		}
		return &wiredConn{nc, w}, nil
	}
	return &redis.Pool{MaxIdle: 256, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", addr, redis.DialNetDial(dial), redis.DialReadTimeout(5*time.Second))
	}}
}
