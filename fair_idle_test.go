package redigolock_test

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// idleConns has a pool with so many idle connections.
func idleConns(t *testing.T, p *redis.Pool, n int) {
	t.Helper()
	var all []redis.Conn
	for range n {
		c := p.Get()
		if _, err := c.Do("PING"); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		c.Close()
	}
}

// Idle connections that died cost a fair Locker no lock: a fresh one is asked within the same OpTimeout.
func TestFairIdleConnectionsThatDied(t *testing.T) {
	for name, acquire := range map[string]func(l *redigolock.Locker, ctx context.Context) (*redigolock.Lock, error){
		"TryAcquire": func(l *redigolock.Locker, ctx context.Context) (*redigolock.Lock, error) {
			return l.TryAcquire(ctx, "key", time.Minute)
		},
		"Acquire": func(l *redigolock.Locker, ctx context.Context) (*redigolock.Lock, error) {
			return l.Acquire(ctx, "key", time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				p := s.Pool()
				p.MaxIdle = 40
				idleConns(t, p, 40)
				l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
				s.CloseConns()
				begin := time.Now()
				ctx, cancel := context.WithTimeout(bg, time.Second)
				defer cancel()
				k := mustGet(t)(acquire(l, ctx))
				if took := time.Since(begin); took > time.Second {
					t.Errorf("it took %v", took)
				}
				time.Sleep(5 * time.Second) // the lost one is cleaned up
				if err := k.Verify(bg); err != nil {
					t.Error(err)
				}
				if held, _ := redis.String(s.Do("GET", "key")); held != k.Token() {
					t.Errorf("the key has %q, the handle %q", held, k.Token())
				}
				if redigolock.FairOwes(l) {
					t.Error("the lost try is not cleaned up")
				}
			})
		})
	}
}

// Idle connections whose peer has vanished cost a fair Acquire one OpTimeout, however many there are; a TryAcquire ends with
// ErrUnknown then, exactly.
func TestFairIdleConnectionsThatAreHalfOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		p := s.Pool()
		p.MaxIdle = 40
		idleConns(t, p, 40)
		l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
		s.HalfOpen()
		inTime(t, "TryAcquire", redigolock.DefaultOpTimeout, func() {
			_, err := l.TryAcquire(bg, "another", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
		})
		begin := time.Now()
		mustGet(t)(l.Acquire(bg, "key", time.Minute))
		if took := time.Since(begin); took > redigolock.DefaultOpTimeout+100*time.Millisecond {
			t.Errorf("Acquire took %v", took)
		}
		time.Sleep(10 * time.Second)
		if redigolock.FairOwes(l) {
			t.Error("the lost try is not cleaned up")
		}
	})
}
