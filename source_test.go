package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A dialGate counts dials, and has those that a test chooses hang, whatever their context says.
type dialGate struct {
	link *sim.Link
	hang func(n int) <-chan struct{} // of the n-th dial, from 1; nil: it does not hang

	mu   sync.Mutex // protects what follows
	n    int
	now  int // under way
	most int // at once
}

func (g *dialGate) dial(context.Context) (redis.Conn, error) {
	g.mu.Lock()
	g.n++
	g.now++
	g.most = max(g.most, g.now)
	n := g.n
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.now--
		g.mu.Unlock()
	}()
	if g.hang != nil {
		if until := g.hang(n); until != nil {
			<-until
		}
	}
	return g.link.DialRedis(bg)
}

func (g *dialGate) counts() (n, now, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n, g.now, g.most
}

// renewsFor checks that a lock is kept alive for d.
func renewsFor(t *testing.T, l *redigolock.Locker, key string, ttl, d time.Duration) {
	t.Helper()
	k, err := l.TryAcquire(bg, key, ttl)
	if err != nil {
		t.Fatal(err)
	}
	kept := k.KeepAlive(bg)
	select {
	case <-kept.Done():
		t.Errorf("%s of %v is lost: %v", key, ttl, context.Cause(kept))
	case <-time.After(d):
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
}

// A dial that takes longer than a renewal may wait for it is not thrown away.
func TestSlowDialsCostNoKeptLock(t *testing.T) {
	for _, dial := range []time.Duration{300 * time.Millisecond, 440 * time.Millisecond} {
		for _, pool := range sourcePools {
			t.Run(fmt.Sprint(pool.name, dial), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					p, redigo := pool.make(s, &borrowGate{})
					defer redigo.Close()
					l := simLocker(t, &redigolock.Locker{Pool: p})
					s.SlowDials(dial)
					renewsFor(t, l, "key", time.Second, 10*time.Second)
				})
			})
		}
	}
}

func TestOneDialThatHangsCostsNoKeptLock(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
			if n != 2 { // the first is the acquire's
				return nil
			}
			until := make(chan struct{})
			time.AfterFunc(20*time.Second, func() { close(until) })
			return until
		}}
		pool := &redis.Pool{DialContext: g.dial, MaxIdle: 1}
		defer pool.Close()
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		renewsFor(t, l, "key", time.Second, 30*time.Second)
		if n, _, _ := g.counts(); n != 3 {
			t.Errorf("%d dials, want 3: the acquire's, the one that hung, and the next", n)
		}
	})
}

// A pool that cannot dial, and is exhausted after the first renewal.
func TestKeepAliveKeepsTheConnectionThatItWasLent(t *testing.T) {
	for _, pool := range sourcePools[len(sourcePools)-2:] {
		t.Run(pool.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				p, redigo := pool.make(s, &borrowGate{})
				redigo.MaxActive, redigo.Wait = 2, true
				defer redigo.Close()
				l := simLocker(t, &redigolock.Locker{Pool: p})
				k, err := l.TryAcquire(bg, "key", time.Second)
				if err != nil {
					t.Fatal(err)
				}
				kept := k.KeepAlive(bg)
				time.Sleep(time.Second)
				busy := redigo.Get()
				waiting := inBackground(redigo.Get) // takes what comes back
				time.Sleep(30 * time.Second)
				if kept.Err() != nil {
					t.Errorf("lost: %v", context.Cause(kept))
				}
				busy.Close()
				(<-waiting).Close()
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if n := redigo.IdleCount(); n != 2 {
					t.Errorf("%d connections are idle after the release, want both", n)
				}
			})
		})
	}
}

// A nodePool lends connections as redisc.Cluster does: each takes one Bind, which dials the key's node.
type nodePool struct{ nodes map[string]*sim.Link } // by the key's first word

func (p nodePool) Get() redis.Conn { return &nodeConn{pool: p} }

type nodeConn struct {
	redis.Conn
	pool nodePool
}

var errBoundTwice = errors.New("the connection is bound already")

func (c *nodeConn) Bind(keys ...string) (err error) {
	if c.Conn != nil {
		return errBoundTwice
	}
	c.Conn, err = c.pool.nodes[strings.Fields(keys[0])[0]].DialRedis(bg)
	return err
}

func (c *nodeConn) Err() error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Err()
}

func (c *nodeConn) Close() error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

func (c *nodeConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, cmd, args...)
}

func (c *nodeConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *nodeConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, cmd, args...)
}

func (c *nodeConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

func TestNodeThatHangsCostsNoLockOnAnother(t *testing.T) {
	for _, how := range []string{"hangs", "hangs at dial"} {
		for _, ttl := range []time.Duration{time.Second, 10 * time.Second} {
			t.Run(fmt.Sprint(how, ttl), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					bad := sim.NewServer(t)
					l := simLocker(t, &redigolock.Locker{Pool: nodePool{map[string]*sim.Link{"good": s.Link, "bad": bad.Link}}})
					for i := range 10 {
						k, err := l.TryAcquire(bg, fmt.Sprint("bad ", i), ttl)
						if err != nil {
							t.Fatal(err)
						}
						k.KeepAlive(bg)
					}
					heal := bad.Pause
					if how != "hangs" {
						heal = bad.HangDials
					}
					goOn := heal()
					renewsFor(t, l, "good", ttl, 10*ttl)
					goOn()
				})
			})
		}
	}
}

func TestBoundConnectionsAreRenewedAtMostEightAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: nodePool{map[string]*sim.Link{"key": s.Link}}})
		s.Delay(time.Millisecond)
		var kept []context.Context
		for i := range 100 {
			k, err := l.TryAcquire(bg, fmt.Sprint("key ", i), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, k.KeepAlive(bg))
		}
		most := 0
		for range 5000 {
			time.Sleep(time.Millisecond)
			most = max(most, s.Conns())
		}
		if most != 8 {
			t.Errorf("%d connections at once, want 8", most)
		}
		for i, ctx := range kept {
			if ctx.Err() != nil {
				t.Fatalf("lock %d is lost: %v", i, context.Cause(ctx))
			}
		}
	})
}

// 70 ms there and back: the short locks cannot be kept, the long one can.
func TestShortLocksDoNotStarveALongOne(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(35 * time.Millisecond)
		pool := simPool(t, s, "redis")
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if k, err := l.TryAcquire(bg, fmt.Sprint("short ", i, " ", n), 150*time.Millisecond); err == nil {
						<-k.KeepAlive(bg).Done()
					}
				}
			})
		}
		renewsFor(t, l, "long", 2*time.Second, 30*time.Second)
		close(stop)
		wg.Wait()
	})
}

// As after a restart, or behind a server or middlebox that closes what was idle.
func TestIdleConnectionsThatWereClosedCostNoTry(t *testing.T) {
	for _, pool := range sourcePools {
		for _, verb := range sourceVerbs {
			t.Run(pool.name+"/"+verb.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					p, redigo := pool.make(s, &borrowGate{})
					redigo.MaxIdle, redigo.TestOnBorrow = 40, nil
					defer redigo.Close()
					l := simLocker(t, &redigolock.Locker{Pool: p})
					k, err := l.TryAcquire(bg, "key", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					idle(redigo, 40)
					time.Sleep(5 * time.Second)
					s.CloseConns()
					time.Sleep(time.Second)
					for range 3 {
						ctx, cancel := context.WithTimeout(bg, time.Minute)
						inTime(t, verb.name, 0, func() { err = verb.do(ctx, l, k) })
						cancel()
						if err != nil {
							t.Fatal(err)
						}
						if verb.name == "Release" {
							break
						}
						s.Do("DEL", "other")
					}
				})
			})
		}
	}
}

// idle gives a pool n idle connections.
func idle(p *redis.Pool, n int) {
	var conns []redis.Conn
	for range n {
		conns = append(conns, p.Get())
	}
	for _, c := range conns {
		c.Close()
	}
}

// A middlebox that has forgotten 40 connections: what is sent vanishes, and no end comes.
func TestHalfOpenConnectionsCostOneOpTimeoutInAll(t *testing.T) {
	for _, pool := range sourcePools {
		if pool.name == "Get only" { // nobody knows how many it keeps
			continue
		}
		for _, idleFor := range []time.Duration{5 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(pool.name, "/", idleFor), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					p, redigo := pool.make(s, &borrowGate{})
					redigo.MaxIdle, redigo.TestOnBorrow = 40, nil
					defer redigo.Close()
					l := simLocker(t, &redigolock.Locker{Pool: p})
					idle(redigo, 40)
					time.Sleep(idleFor)
					s.HalfOpen()
					begin := time.Now()
					k, err := l.Acquire(bg, "key", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					if took := time.Since(begin); took > 1600*time.Millisecond {
						t.Errorf("Acquire took %v", took)
					}
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// NewPool tests what was idle for long: that it was not answered costs half of what a call has, not all of it.
func TestHalfOpenConnectionsThatAreTestedLeaveTimeForAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		pool := simPool(t, s, "redis")
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		idle(pool, 40)
		time.Sleep(time.Minute)
		s.HalfOpen()
		inTime(t, "TryAcquire", 500*time.Millisecond, func() {
			if _, err := l.TryAcquire(bg, "key", time.Minute); err != nil {
				t.Error(err)
			}
		})
	})
}

// That a caller is impatient says nothing about the connections.
func TestCallersThatLeaveCostNoIdleConnections(t *testing.T) {
	for _, pool := range sourcePools {
		t.Run(pool.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				p, redigo := pool.make(s, &borrowGate{})
				redigo.MaxIdle = 40
				defer redigo.Close()
				l := simLocker(t, &redigolock.Locker{Pool: p})
				idle(redigo, 40)
				s.Rule(func(r sim.Request) sim.Action {
					if r.Verb == "set" {
						return sim.Slow(time.Second)
					}
					return sim.Pass()
				})
				ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
				defer cancel()
				if _, err := l.TryAcquire(ctx, "key", time.Minute); err == nil {
					t.Error("acquired")
				}
				time.Sleep(10 * time.Millisecond)
				if n := redigo.IdleCount(); n != 39 {
					t.Errorf("%d of 39 idle connections are left", n)
				}
				before := s.Count("ping")
				if _, err := l.Attach(bg, "key", "x", time.Minute); !errors.Is(err, redigolock.ErrNotHeld) {
					t.Error(err)
				}
				if n := s.Count("ping") - before; n > 0 && pool.name != "TestOnBorrow" {
					t.Errorf("%d pings", n)
				}
			})
		})
	}
}

func TestLostTriesOverBoundConnectionsAreCleanedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: nodePool{map[string]*sim.Link{"key": s.Link}}})
		k, err := l.TryAcquire(bg, "key", time.Minute)
		if err != nil || k.Release(bg) != nil { // the server knows the script by now
			t.Fatal(err)
		}
		before := s.Count("release")
		s.Rule(func(r sim.Request) sim.Action {
			if r.Verb == "set" {
				return sim.Swallow()
			}
			return sim.Pass()
		})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := l.TryAcquire(bg, fmt.Sprint("key ", i), time.Minute)
				wants(t, err, redigolock.ErrUnknown)
			})
		}
		wg.Wait()
		time.Sleep(100 * time.Millisecond)
		if n, _ := redis.Int(s.Do("DBSIZE")); n != 0 {
			t.Errorf("%d keys are left", n)
		}
		time.Sleep(2 * time.Second)
		if redigolock.CleaningUp(l) {
			t.Error("the clean-up goes on, though the server has confirmed twice")
		}
		if n := s.Count("release") - before; n != 20 {
			t.Errorf("%d releases were sent, want two for each", n)
		}
	})
}

func TestOpTimeoutAboveADayIsInvalid(t *testing.T) {
	for timeout, valid := range map[time.Duration]bool{
		24 * time.Hour: true, 24*time.Hour + 1: false, math.MaxInt64: false, -1: false,
	} {
		l := &redigolock.Locker{Pool: poolFunc(func() redis.Conn { return &scriptedConn{replies: []any{"OK", []byte("x")}} }), OpTimeout: timeout}
		_, err := l.TryAcquire(bg, "key", time.Minute)
		if errors.Is(err, redigolock.ErrInvalid) == valid {
			t.Errorf("OpTimeout %v: %v", timeout, err)
		}
	}
}

func TestReleaseAfterThePoolWasClosed(t *testing.T) {
	for _, pool := range sourcePools {
		if pool.name == "wrapped" || pool.name == "Get only" { // they cannot dial
			continue
		}
		t.Run(pool.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				p, redigo := pool.make(s, &borrowGate{})
				l := simLocker(t, &redigolock.Locker{Pool: p})
				k, err := l.TryAcquire(bg, "key", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				redigo.Close()
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
				if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 0 {
					t.Error("the key is left")
				}
			})
		})
	}
}

// The dial of each acquire hangs for longer than its OpTimeout.
func TestDialsThatHangAreFourAtMost(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		until := make(chan struct{})
		g := &dialGate{link: s.Link, hang: func(int) <-chan struct{} { return until }}
		pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8}
		defer pool.Close()
		l := &redigolock.Locker{Pool: pool}
		for range 20 {
			inTime(t, "TryAcquire", time.Second, func() {
				if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
					t.Error("acquired without a connection")
				}
			})
		}
		if _, now, most := g.counts(); now != 4 || most != 4 {
			t.Errorf("%d dials hang, %d at once; want 4", now, most)
		}
		if n := redigolock.Seeking(l); n != 0 {
			t.Errorf("%d calls are not forgotten", n)
		}
		waiting := inBackground(func() error { _, err := l.TryAcquire(bg, "key", time.Minute); return err })
		time.Sleep(500 * time.Millisecond)
		close(until)
		if err := <-waiting; err != nil {
			t.Errorf("who waited for what was late got no connection: %v", err)
		}
		synctest.Wait()
		if n, _, _ := g.counts(); n != 4 {
			t.Errorf("%d dials, though what they brought late was enough", n)
		}
		if n := pool.IdleCount(); n != 4 {
			t.Errorf("%d connections went back to the pool, want 4", n)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What a dial brings late goes to the one who waits by then.
func TestLateDialGoesToTheNextRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		until := make(chan struct{})
		g := &dialGate{link: s.Link, hang: func(int) <-chan struct{} { return until }}
		pool := simPool(t, s, "redis")
		l := simLocker(t, &redigolock.Locker{Pool: dialPool{pool.Get, g.dial}, OpTimeout: 200 * time.Millisecond})
		k, err := l.TryAcquire(bg, "key", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		kept := k.KeepAlive(bg)
		time.Sleep(8 * time.Second)
		close(until)
		time.Sleep(time.Minute)
		if kept.Err() != nil {
			t.Errorf("lost: %v", context.Cause(kept))
		}
		if n, _, _ := g.counts(); n != 4 {
			t.Errorf("%d dials, though the first four came late", n)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseWaitsForDialsThatWereLeft(t *testing.T) {
	for dial, want := range map[time.Duration]time.Duration{2 * time.Second: time.Second, 10 * time.Second: 3 * time.Second} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			s.SlowDials(2 * time.Second)
			g := &dialGate{link: s.Link, hang: func(int) <-chan struct{} {
				until := make(chan struct{})
				time.AfterFunc(dial, func() { close(until) })
				return until
			}}
			s.SlowDials(0)
			pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8}
			defer pool.Close()
			l := &redigolock.Locker{Pool: pool}
			if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
				t.Error("acquired without a connection")
			}
			inTime(t, fmt.Sprint("Close with a dial of ", dial), want, func() { l.Close() })
			time.Sleep(dial)
		})
	}
}

// After a break the connections of a Locker's own are dialled a few at a time.
func TestOwnDialsAreEightAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		g := &dialGate{link: s.Link}
		s.Delay(time.Millisecond)
		s.SlowDials(5 * time.Millisecond)
		pool := ownPool(s)
		pool.MaxIdle = 200
		defer pool.Close()
		idle(pool, 200)
		l := simLocker(t, &redigolock.Locker{Pool: dialPool{pool.Get, g.dial}})
		s.CloseConns()
		var wg sync.WaitGroup
		var failed atomic.Int64
		for i := range 200 {
			wg.Go(func() {
				if _, err := l.TryAcquire(bg, fmt.Sprint(i), time.Minute); err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("%d of 200 acquires failed", n)
		}
		if _, _, most := g.counts(); most != 8 {
			t.Errorf("%d dials at once", most)
		}
	})
}

// The fields of a pool are its user's: one of NewPool whose funcs are others is bounded like any other.
func TestPoolOfNewPoolThatWasChangedIsBoundedToo(t *testing.T) {
	for name, change := range map[string]func(*redis.Pool, <-chan struct{}){
		"TestOnBorrow": func(p *redis.Pool, until <-chan struct{}) {
			p.TestOnBorrow = func(redis.Conn, time.Time) error { <-until; return nil }
		},
		"TestOnBorrowContext": func(p *redis.Pool, until <-chan struct{}) {
			p.TestOnBorrowContext = func(context.Context, redis.Conn, time.Time) error { <-until; return nil }
		},
		"DialContext": func(p *redis.Pool, until <-chan struct{}) {
			dial := p.DialContext
			p.DialContext = func(ctx context.Context) (redis.Conn, error) { <-until; return dial(ctx) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				until := make(chan struct{})
				pool := simPool(t, s, "redis")
				if name != "DialContext" {
					idle(pool, 1)
				}
				change(pool, until)
				l := simLocker(t, &redigolock.Locker{Pool: pool})
				inTime(t, "TryAcquire", time.Second, func() {
					if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
						t.Error("acquired")
					}
				})
				close(until)
			})
		})
	}
}
