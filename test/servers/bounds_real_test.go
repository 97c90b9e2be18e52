package servers

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A few of TestEveryVerbReturnsAtItsBound on real sockets. Before, these took 2 s, 4 s and 10 s.
func TestBoundsOnRealSockets(t *testing.T) {
	mute := listen(t, func(l net.Listener) net.Listener { return l }, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	tuned, err := redigolock.NewPool("rediss://" + mute)
	if err != nil {
		t.Fatal(err)
	}
	own := &redis.Pool{Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", mute, redis.DialUseTLS(true), redis.DialTLSHandshakeTimeout(3*time.Second))
	}}
	server := redistest.Start(t)
	tests := &redis.Pool{
		MaxIdle: 4,
		Dial: func() (redis.Conn, error) {
			return redis.Dial("tcp", server.Addr(), redis.DialReadTimeout(2*time.Second))
		},
		TestOnBorrow: func(c redis.Conn, _ time.Time) error {
			_, err := c.Do("PING")
			return err
		},
	}
	idle(tests, 4)
	server.Pause()
	for name, pool := range map[string]*redis.Pool{"NewPool, TLS": tuned, "own pool, TLS": own, "TestOnBorrow": tests} {
		t.Run(name, func(t *testing.T) {
			defer pool.Close()
			l := &redigolock.Locker{Pool: pool}
			ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
			defer cancel()
			begin := time.Now()
			_, err := l.TryAcquire(ctx, "key", time.Minute)
			wants(t, err, context.DeadlineExceeded)
			if took := time.Since(begin); took > 1500*time.Millisecond {
				t.Errorf("returned after %v: %v", took, err)
			}
			l.Close() // waits for what was left
		})
	}
	server.Resume()
}
