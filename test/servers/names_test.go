package servers

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Short names for what is in internal/testbed.
var (
	bg         = context.Background()
	eventually = testbed.Eventually
	wants      = testbed.Wants
	newSim     = testbed.NewSimServer
	simLocker  = testbed.SimLocker
)

const minute = time.Minute

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}

// An acquired is what an Acquire returned.
type acquired struct {
	k   *redigolock.Lock
	err error
}

// waits has a Locker acquire in the background.
func waits(ctx context.Context, l *redigolock.Locker, key string, ttl time.Duration) <-chan acquired {
	return testbed.InBackground(func() acquired {
		k, err := l.Acquire(ctx, key, ttl)
		return acquired{k, err}
	})
}

// patient is a context for what must happen some time.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// idle has n connections of the pool idle.
func idle(p *redis.Pool, n int) {
	var conns []redis.Conn
	for range n {
		conns = append(conns, p.Get())
	}
	for _, c := range conns {
		c.Close()
	}
}

// dialFor opens a connection that is closed with the test.
func dialFor(t testing.TB, addr string, opts ...redis.DialOption) redis.Conn {
	t.Helper()
	c, err := redis.Dial("tcp", addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
