package redigolock_test

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

// An instantPool lends connections that answer at once, so that a benchmark sees what the Locker itself costs.
type instantPool struct{}

func (instantPool) Get() redis.Conn { return &instantConn{} }

func (instantPool) GetContext(context.Context) (redis.Conn, error) { return &instantConn{}, nil }

type instantConn struct {
	token any
	sent  []string
}

func (c *instantConn) Close() error { return nil }
func (c *instantConn) Err() error   { return nil }
func (c *instantConn) Flush() error { return nil }

func (c *instantConn) Send(cmd string, args ...any) error {
	if c.sent = append(c.sent, cmd); cmd == "SET" {
		c.token = args[1]
	}
	return nil
}

func (c *instantConn) Receive() (any, error) {
	cmd := c.sent[0]
	c.sent = c.sent[1:]
	if cmd == "GET" {
		return []byte(c.token.(string)), nil
	}
	return "OK", nil
}

func (c *instantConn) Do(string, ...any) (any, error)                           { return int64(1), nil }
func (c *instantConn) ReceiveWithTimeout(time.Duration) (any, error)            { return c.Receive() }
func (c *instantConn) DoWithTimeout(time.Duration, string, ...any) (any, error) { return int64(1), nil }

// BenchmarkOwnCost is an acquire and a release without any server: what Stats keeps, and an Observer, cost is part of it.
func BenchmarkOwnCost(b *testing.B) {
	observer := &redigolock.Observer{
		Waiting:  func(ctx context.Context, _, _ string) context.Context { return ctx },
		Acquired: func(context.Context, *redigolock.Lock, time.Duration) {},
		Released: func(context.Context, *redigolock.Lock, time.Duration, error) {},
	}
	for name, o := range map[string]*redigolock.Observer{"observer=none": nil, "observer=three": observer} {
		b.Run(name, func(b *testing.B) {
			l := &redigolock.Locker{Pool: instantPool{}, Observer: o}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					k, err := l.TryAcquire(bg, "key", time.Minute)
					if err == nil {
						err = k.Release(bg)
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
