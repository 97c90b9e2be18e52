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

// wantStats checks all counts of this moment.
func wantStats(t *testing.T, l *redigolock.Locker, when string, want redigolock.Stats) {
	t.Helper()
	synctest.Wait()
	if got := l.Stats(); got != want {
		t.Errorf("%s: %+v, want %+v", when, got, want)
	}
}

func TestStatsCountsWhatIsHeld(t *testing.T) {
	for name, fair := range map[string]bool{"plain": false, "fair": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: fair})
				wantStats(t, l, "before anything", redigolock.Stats{})
				a := mustGet(t)(l.Acquire(bg, "a", time.Second))
				b := mustGet(t)(l.TryAcquire(bg, "b", 2*time.Second))
				c := mustGet(t)(l.Attach(bg, "b", b.Token(), time.Minute))
				wantStats(t, l, "three handles", redigolock.Stats{Held: 3})

				time.Sleep(time.Until(a.Deadline()) - 1)
				wantStats(t, l, "a moment before a Deadline", redigolock.Stats{Held: 3})
				time.Sleep(time.Nanosecond)
				wantStats(t, l, "at a Deadline", redigolock.Stats{Held: 2})
				_ = a.Release(bg)
				wantStats(t, l, "what was over is released", redigolock.Stats{Held: 2})

				mustGet(t)(b, b.Extend(bg, 10*time.Second))
				time.Sleep(time.Until(c.Deadline()))
				wantStats(t, l, "one of two was extended", redigolock.Stats{Held: 1})
				mustGet(t)(b, b.Release(bg))
				wantStats(t, l, "released", redigolock.Stats{})
			})
		})
	}
}

func TestStatsCountsALossAtOnce(t *testing.T) {
	for name, fair := range map[string]bool{"plain": false, "fair": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: fair})
				k := mustGet(t)(l.TryAcquire(bg, "key", time.Minute))
				_, _ = s.Do("DEL", "key")
				_ = k.Verify(bg)
				wantStats(t, l, "the server said that it is gone", redigolock.Stats{})

				k = mustGet(t)(l.TryAcquire(bg, "key", time.Minute))
				k.KeepAlive(bg)
				wantStats(t, l, "kept", redigolock.Stats{Held: 1, Kept: 1})
				_, _ = s.Do("DEL", "key")
				time.Sleep(31 * time.Second)
				wantStats(t, l, "a renewal found it gone", redigolock.Stats{})
			})
		})
	}
}

// An ErrLost that comes a moment before Deadline, or by MaxHold, ends what Held counts.
func TestStatsCountsNoLockThatKeepAliveHasLost(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), MaxHold: 10 * time.Second})
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Minute))
		kept := k.KeepAlive(bg)
		<-kept.Done()
		wantStats(t, l, "MaxHold", redigolock.Stats{})

		l = simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		k = mustGet(t)(l.TryAcquire(bg, "other", time.Minute))
		kept = k.KeepAlive(bg)
		s.RefuseDials()
		s.Cut()
		<-kept.Done()
		if time.Now().Before(k.Deadline()) {
			wantStats(t, l, "a moment before Deadline", redigolock.Stats{})
		} else {
			t.Error("ErrLost came after Deadline")
		}
	})
}

func TestStatsCountsWaitsDebtsAndConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		other := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		mustGet(t)(other.TryAcquire(bg, "key", time.Hour))
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		ctx, cancel := context.WithCancel(bg)
		for range 3 {
			go l.Acquire(ctx, "key", time.Minute)
		}
		wantStats(t, l, "three wait", redigolock.Stats{Waiting: 3})
		cancel()
		wantStats(t, l, "none waits", redigolock.Stats{})

		s.Next("set", sim.Drop(), sim.Drop())
		s.Next("extend", sim.Drop())
		s.Next("release", sim.Swallow())
		_, err := l.TryAcquire(bg, "third", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		wantStats(t, l, "the clean-up is not answered", redigolock.Stats{Owed: 1, Conns: 1})
		time.Sleep(time.Minute)
		wantStats(t, l, "it is confirmed", redigolock.Stats{})

		k := mustGet(t)(l.TryAcquire(bg, "fourth", time.Minute))
		k.KeepAlive(bg)
		time.Sleep(31 * time.Second)
		wantStats(t, l, "it was renewed", redigolock.Stats{Held: 1, Kept: 1, Conns: 1})
		mustGet(t)(k, k.Release(bg))
		wantStats(t, l, "the renewals have ended", redigolock.Stats{})
	})
}

func TestStatsOfAFairLocker(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		other := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		held := mustGet(t)(other.TryAcquire(bg, "key", time.Hour))
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: true})
		ctx, cancel := context.WithCancel(bg)
		for range 3 {
			go l.Acquire(ctx, "key", time.Minute)
		}
		time.Sleep(time.Second / 2)
		wantStats(t, l, "three wait in the queue", redigolock.Stats{Waiting: 3, Conns: 1})
		accept := s.RefuseDials()
		s.Cut()
		cancel()
		wantStats(t, l, "their place is still to be given up", redigolock.Stats{Owed: 1})
		accept()
		time.Sleep(time.Minute)
		wantStats(t, l, "it is given up", redigolock.Stats{})

		mustGet(t)(held, held.Release(bg))
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Minute))
		s.RefuseDials()
		s.Cut()
		_ = k.Release(bg)
		wantStats(t, l, "the release is repeated", redigolock.Stats{Owed: 1})
		time.Sleep(2 * time.Minute)
		wantStats(t, l, "its lease is over", redigolock.Stats{})
	})
}

// What is kept for Stats is used again, however many locks are left to expire.
func TestStatsKeepsNothingOfLocksLeftToExpire(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		for i := range 3000 {
			mustGet(t)(l.TryAcquire(bg, time.Duration(i).String(), 100*time.Millisecond))
			time.Sleep(time.Millisecond)
		}
		if got := l.Stats().Held; got != 96 { // those of the last 97 ms, at whose end the first is over
			t.Errorf("%d are held", got)
		}
		if n := redigolock.HeldPlaces(l); n > 300 {
			t.Errorf("%d places for 96 locks", n)
		}
	})
}

// The monotonic clock stands still while the machine is suspended.
func TestStatsGoesByBothClocks(t *testing.T) {
	r := newRigOnMini(t)
	c := stopClock(r.Locker)
	r.Must(r.Locker.TryAcquire(bg, "a", time.Minute))
	r.Must(r.Locker.TryAcquire(bg, "b", time.Hour))
	c.AddWall(t, 10*time.Minute)
	if n := r.Locker.Stats().Held; n != 1 {
		t.Errorf("%d are held after a suspend of ten minutes", n)
	}
	c.AddMonotonic(t, 2*time.Hour)
	if n := r.Locker.Stats().Held; n != 0 {
		t.Errorf("%d are held after two hours", n)
	}
}

// An instantPool lends connections that answer at once, so that a benchmark sees what the Locker itself costs.
type instantPool struct{}

func (instantPool) Get() redis.Conn { return &instantConn{} }

func (instantPool) GetContext(context.Context) (redis.Conn, error) { return &instantConn{}, nil }

// An instantConn knows SET with NX and GET, and scripts. Every key is free before its first command, and has the token afterwards.
type instantConn struct {
	token   any
	replies []any
}

func (c *instantConn) Close() error { return nil }
func (c *instantConn) Err() error   { return nil }
func (c *instantConn) Flush() error { return nil }

func (c *instantConn) Do(cmd string, args ...any) (any, error) {
	switch cmd {
	case "SET":
		before := c.token
		c.token = []byte(args[1].(string))
		return before, nil
	case "EVALSHA":
		return int64(1), nil
	}
	return redis.Error("ERR unknown command '" + cmd + "'"), nil
}

func (c *instantConn) DoWithTimeout(_ time.Duration, cmd string, args ...any) (any, error) {
	return c.Do(cmd, args...)
}

func (c *instantConn) Send(cmd string, args ...any) error {
	reply, _ := c.Do(cmd, args...)
	c.replies = append(c.replies, reply)
	return nil
}

func (c *instantConn) Receive() (any, error) {
	reply := c.replies[0]
	c.replies = c.replies[1:]
	if re, refused := reply.(redis.Error); refused {
		return nil, re
	}
	return reply, nil
}

func (c *instantConn) ReceiveWithTimeout(time.Duration) (any, error) { return c.Receive() }

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
