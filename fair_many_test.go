package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// Ten thousand goroutines of one fair Locker wait for one key.

// A fairMany is such goroutines. Each that gets the lock releases it at once; when enough have had it, all leave.
type fairMany struct {
	t      *testing.T
	l      *redigolock.Locker
	enough int

	mu    sync.Mutex // protects what follows
	had   int
	most  time.Duration // that a Release took
	leave context.CancelFunc
}

const (
	fairManyWaiters = 10_000
	fairManyTTL     = 10 * time.Minute // so long that a busy machine does not matter
)

// run has the first holder release when all wait, and returns when all have left.
func (m *fairMany) run() {
	holder, err := m.l.TryAcquire(bg, fairKey, fairManyTTL)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, leave := context.WithCancel(bg)
	defer leave()
	m.leave = leave
	var wg sync.WaitGroup
	for range fairManyWaiters {
		wg.Go(func() { m.wait(ctx) })
	}
	for redigolock.LocalWaiters(m.l, fairKey) < fairManyWaiters || !redigolock.Subscribed(m.l) {
		time.Sleep(time.Millisecond)
	}
	m.release(holder)
	wg.Wait()
	if m.had < m.enough {
		m.t.Errorf("%d have had the lock, want %d", m.had, m.enough)
	}
}

func (m *fairMany) wait(ctx context.Context) {
	k, err := m.l.Acquire(ctx, fairKey, fairManyTTL)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			m.t.Error(err)
		}
		return
	}
	m.release(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.had++; m.had == m.enough {
		m.leave()
	}
}

func (m *fairMany) release(k *redigolock.Lock) {
	start := time.Now()
	err := k.Release(bg)
	took := time.Since(start)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.most = max(m.most, took); err != nil {
		m.t.Errorf("a Release: %v", err)
	}
}

// A Release takes a round trip and an acquisition one command, however many wait, over a pool and over a Mux.
func TestFairReleaseAmongTenThousand(t *testing.T) {
	const trip, enough = 10 * time.Millisecond, 200
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%v", mux), func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				var p redigolock.Pool = simPool(t, s, "redis")
				if mux {
					m := &redigolock.Mux{Pool: p}
					t.Cleanup(func() { m.Close() })
					p = m
				}
				s.Delay(trip / 2)
				m := &fairMany{t: t, l: simLocker(t, &redigolock.Locker{Pool: p, Fair: true}), enough: enough}
				m.run()
				if m.most > 3*trip {
					t.Errorf("a Release took %v, a round trip takes %v", m.most, trip)
				}
				time.Sleep(time.Second) // the last gives up its place
				synctest.Wait()
				if sent := len(evals(s)); sent > m.had+m.had/20+5 {
					t.Errorf("%d scripts for %d acquisitions", sent, m.had)
				}
				if keys := s.Miniredis().Keys(); len(keys) > 0 {
					t.Errorf("%q are left", keys)
				}
			})
		})
	}
}

// The same on a real server, where the machine says how long a Release takes: none fails, and the commands are counted.
func TestFairReleaseAmongTenThousandOnAServer(t *testing.T) {
	const enough = 2000
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%v", mux), func(t *testing.T) {
			server := redistest.Start(t)
			pool, err := redigolock.NewPool(server.URL())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { pool.Close() })
			l := &redigolock.Locker{Pool: pool, Fair: true}
			if mux {
				m := &redigolock.Mux{Pool: pool}
				t.Cleanup(func() { m.Close() })
				l.Pool = m
			}
			t.Cleanup(func() { l.Close() })
			start := time.Now()
			m := &fairMany{t: t, l: l, enough: enough}
			m.run()
			calls, err := server.Calls()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d acquisitions in %v, %d EVALSHA; the longest Release took %v", m.had, time.Since(start), calls["evalsha"], m.most)
			if most := int64(m.had + m.had/20 + 50 + int(time.Since(start)/time.Second)); calls["evalsha"] > most {
				t.Errorf("%d EVALSHA for %d acquisitions", calls["evalsha"], m.had)
			}
			eventually(t, "nothing is left", func() bool {
				n, err := server.Do("DBSIZE")
				return err == nil && n == int64(0)
			})
		})
	}
}
