package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// inBubble runs f in virtual time, with a server whose requests have the names of this package's scripts. What f has started
// must have ended when it returns, but for what its t's Cleanup ends.
func inBubble(t *testing.T, f func(t *testing.T, s *sim.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newSim(t)) })
}

// newSim is the server of a bubble.
func newSim(t *testing.T) *sim.Server {
	s := sim.NewServer(t)
	names := map[string]string{}
	for hash, name := range redigolock.ScriptNames {
		names[hash.(string)] = name
	}
	s.NameScripts(names)
	return s
}

// simPool is what NewPool makes for the server of a bubble, closed with the test; rediss asks for TLS.
func simPool(t *testing.T, s *sim.Server, scheme string, opts ...redis.DialOption) *redis.Pool {
	t.Helper()
	p, err := redigolock.NewPool(scheme+"://sim", append(s.Options(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// simLocker closes the Locker with the test.
func simLocker(t *testing.T, l *redigolock.Locker) *redigolock.Locker {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	return l
}

// inTime checks how much of the bubble's time f takes, exactly.
func inTime(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d != want {
		t.Errorf("%s took %v, want %v", what, d, want)
	}
}

// TestTheLibraryRunsInABubble also shows that nothing of one bubble is left for the next: a channel that was made in another
// ends the process.
func TestTheLibraryRunsInABubble(t *testing.T) {
	pools := map[string]func(t *testing.T, s *sim.Server) *redigolock.Locker{
		"pool": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: simPool(t, s, "redis")}
		},
		"tls": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: simPool(t, s, "rediss")}
		},
		"mux": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			m := &redigolock.Mux{Pool: simPool(t, s, "redis")}
			t.Cleanup(func() { m.Close() })
			return &redigolock.Locker{Pool: m}
		},
		"fair": func(t *testing.T, s *sim.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: true}
		},
	}
	for name, locker := range pools {
		for range 2 {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					s.Delay(time.Millisecond)
					l := simLocker(t, locker(t, s))
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
