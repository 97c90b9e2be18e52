package mux

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// The timeout of a command counts from the command, not from when the connection was lent.
func TestMuxWaitsForTheCommandOfASlowAcquireFunc(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		mux := &redigolock.Mux{Pool: s.Pool()}
		t.Cleanup(func() { _ = mux.Close() })
		begin := time.Now()
		var unknown time.Duration
		l := simLocker(t, &redigolock.Locker{
			Pool: mux, OpTimeout: time.Second,
			AcquireWith: func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
				time.Sleep(300 * time.Millisecond)
				return plainSetNX(ctx, c, key, token, ttl)
			},
			Observer: &redigolock.Observer{Unknown: func(context.Context, string, string, error) {
				if unknown == 0 {
					unknown = time.Since(begin)
				}
			}},
		})
		s.Next("set", sim.Swallow())
		_, err := l.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		if unknown != time.Second {
			t.Errorf("its outcome was unknown after %v", unknown)
		}
	})
}
