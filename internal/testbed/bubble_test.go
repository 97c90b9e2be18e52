package testbed_test

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

// TestTheLibraryRunsInABubble also shows that nothing of one bubble is left for the next: a channel that was made in another
// ends the process.
func TestTheLibraryRunsInABubble(t *testing.T) {
	pools := map[string]func(t *testing.T, s *sim.Server) *redigolock.Locker{
		"pool": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: testbed.SimPool(t, s, "redis")}
		},
		"tls": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: testbed.SimPool(t, s, "rediss")}
		},
		"mux": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			m := &redigolock.Mux{Pool: testbed.SimPool(t, s, "redis")}
			t.Cleanup(func() { m.Close() })
			return &redigolock.Locker{Pool: m}
		},
		"fair": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: testbed.SimPool(t, s, "redis"), Fair: true}
		},
	}
	for name, locker := range pools {
		for range 2 {
			t.Run(name, func(t *testing.T) {
				testbed.InBubble(t, func(t *testing.T, s *sim.Server) {
					s.Delay(time.Millisecond)
					l := testbed.SimLocker(t, locker(t, s))
					done := make(chan error)
					k, err := l.Acquire(bg, "key", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					go func() {
						done <- l.Do(bg, "key", time.Second, func(ctx context.Context, k *redigolock.Lock) error {
							time.Sleep(time.Minute) // KeepAlive holds it
							return ctx.Err()
						})
					}()
					time.Sleep(30 * time.Second)
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
					if err := <-done; err != nil {
						t.Error(err)
					}
					if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 0 {
						t.Error("the key is left")
					}
				})
			})
		}
	}
}
