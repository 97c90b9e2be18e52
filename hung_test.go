package redigolock_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// Four dials hang for longer than anybody waits. What lies idle in the pool, or comes back to it, is lent all the same.
func TestDialsThatHangKeepNobodyFromWhatIsIdle(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		for _, tests := range []bool{false, true} {
			t.Run(fmt.Sprint("wrapped ", wrapped, ", tests ", tests), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					until := make(chan struct{})
					g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
						if n <= 3 {
							return nil
						}
						return until
					}}
					pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8}
					if tests {
						pool.TestOnBorrow = func(c redis.Conn, _ time.Time) error {
							_, err := c.Do("PING")
							return err
						}
					}
					defer pool.Close()
					defer close(until)
					l := simLocker(t, &redigolock.Locker{Pool: pool})
					if wrapped {
						l.Pool = struct{ *redis.Pool }{pool}
					}
					k, err := l.TryAcquire(bg, "kept", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					busy := []redis.Conn{pool.Get(), pool.Get(), pool.Get()}
					var wg sync.WaitGroup
					for range 4 {
						wg.Go(func() {
							inTime(t, "a dial that hangs", time.Second, func() {
								if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
									t.Error("acquired without a connection")
								}
							})
						})
					}
					wg.Wait()
					time.AfterFunc(500*time.Millisecond, func() { busy[0].Close() })
					inTime(t, "Verify until a connection comes back", time.Second, func() {
						err = k.Verify(bg) // it is given back to the pool past the Locker
					})
					if err == nil {
						t.Error("it has seen a connection that came back past the Locker")
					}
					busy[1].Close()
					var all sync.WaitGroup
					for i := range 20 {
						all.Go(func() {
							inTime(t, "acquire and release with what is idle", 0, func() {
								k, err := l.TryAcquire(bg, fmt.Sprint("key ", i), time.Minute)
								if err != nil {
									t.Error(err)
									return
								}
								if err := k.Release(bg); err != nil {
									t.Error(err)
								}
							})
						})
					}
					all.Wait()
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
					if _, now, most := g.counts(); now != 4 || most != 4 {
						t.Errorf("%d dials hang, %d at once; want 4", now, most)
					}
					busy[2].Close()
				})
			})
		}
	}
}

// Dials that never return: no timeout ends them. When the server is well again, the Locker is, too, a minute later for each
// dial that has hung since the first four.
func TestDialsThatNeverReturnDoNotEndALocker(t *testing.T) {
	for hung, most := range map[int]time.Duration{4: 62 * time.Second, 6: 3*time.Minute + 4*time.Second} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			never := make(chan struct{})
			g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
				if n > hung {
					return nil
				}
				return never
			}}
			pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8}
			defer pool.Close()
			l := simLocker(t, &redigolock.Locker{Pool: pool})
			ctx, cancel := context.WithTimeout(bg, time.Hour)
			defer cancel()
			begin := time.Now()
			k, err := l.Acquire(ctx, "key", time.Minute)
			if took := time.Since(begin); err != nil || took > most {
				t.Fatalf("after %v: %v", took, err)
			}
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
			for i := range 10 { // all is as before
				inTime(t, "TryAcquire", 0, func() {
					if _, err := l.TryAcquire(bg, fmt.Sprint(i), time.Minute); err != nil {
						t.Error(err)
					}
				})
			}
			close(never)
		})
	}
}

// The renewer's own dials are others than those of the pool, and none of them returns for a while.
func TestDialsThatNeverReturnCostNoLongLock(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		never := make(chan struct{})
		g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
			if n > 4 {
				return nil
			}
			return never
		}}
		pool := simPool(t, s, "redis")
		l := simLocker(t, &redigolock.Locker{Pool: dialPool{pool.Get, g.dial}})
		renewsFor(t, l, "key", 4*time.Minute, time.Hour)
		close(never)
	})
}

// Those that begin together are as many as their callers. None begins after that.
func TestNoDialBeginsWhileFourOrMoreAreLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		until := make(chan struct{})
		g := &dialGate{link: s.Link, hang: func(int) <-chan struct{} { return until }}
		pool := &redis.Pool{DialContext: g.dial, MaxIdle: 40}
		defer pool.Close()
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		for range 10 {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					inTime(t, "TryAcquire", time.Second, func() {
						if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
							t.Error("acquired without a connection")
						}
					})
				})
			}
			wg.Wait()
			if _, now, _ := g.counts(); now != 20 {
				t.Errorf("%d dials hang, want those of the first 20 callers", now)
			}
		}
		close(until)
	})
}

// What is idle may hang, too: then one errand more goes on than those that are left already.
func TestIdleConnectionsThatHangAreTestedOneMoreAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		until := make(chan struct{})
		var tests atomic.Int64
		g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
			if n <= 8 {
				return nil
			}
			return until
		}}
		pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8, TestOnBorrow: func(redis.Conn, time.Time) error {
			tests.Add(1)
			<-until
			return nil
		}}
		defer pool.Close()
		var busy []redis.Conn
		for range 8 {
			busy = append(busy, pool.Get())
		}
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		try := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					inTime(t, "TryAcquire", time.Second, func() {
						if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
							t.Error("acquired without a connection")
						}
					})
				})
			}
			wg.Wait()
		}
		try(4)
		for _, c := range busy {
			c.Close()
		}
		for range 5 {
			try(20)
		}
		if n := tests.Load(); n != 1 {
			t.Errorf("%d tests hang, want 1", n)
		}
		close(until)
	})
}
