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
				t.Parallel()
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
		l := &redigolock.Locker{Pool: poolFunc(func() redis.Conn { return &scriptedConn{Replies: []any{"OK", []byte("x")}} }), OpTimeout: timeout}
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

// Everything here runs in virtual time, which needs no tolerance: a call returns at its bound exactly.

// sourcePools are kinds of pools that people have.
var sourcePools = []struct {
	name string
	make func(s *sim.Server, gate *borrowGate) (redigolock.Pool, *redis.Pool)
	tls  bool
}{
	{"NewPool", func(s *sim.Server, _ *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := tunedPool("redis://sim", s)
		return p, p
	}, false},
	{"NewPool TLS", func(s *sim.Server, _ *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := tunedPool("rediss://sim", s)
		return p, p
	}, true},
	{"plain", func(s *sim.Server, _ *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := ownPool(s)
		return p, p
	}, false},
	{"plain TLS", func(s *sim.Server, _ *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := ownPool(s, redis.DialUseTLS(true))
		return p, p
	}, true},
	{"TestOnBorrow", func(s *sim.Server, g *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := ownPool(s)
		p.TestOnBorrow = func(c redis.Conn, _ time.Time) error {
			g.wait()
			_, err := c.Do("PING")
			return err
		}
		return p, p
	}, false},
	{"wrapped", func(s *sim.Server, g *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := ownPool(s)
		return gateWrapper{p, g}, p
	}, false},
	{"Get only", func(s *sim.Server, g *borrowGate) (redigolock.Pool, *redis.Pool) {
		p := ownPool(s)
		return getGate{getPool{Pool: p}, g}, p
	}, false},
}

func tunedPool(url string, s *sim.Server, opts ...redis.DialOption) *redis.Pool {
	p, err := redigolock.NewPool(url, append(s.Options(), opts...)...)
	if err != nil {
		panic(err)
	}
	return p
}

// ownPool is a pool as in redigo's own examples.
func ownPool(s *sim.Server, opts ...redis.DialOption) *redis.Pool {
	return &redis.Pool{
		Dial: func() (redis.Conn, error) {
			return s.DialRedis(bg, append([]redis.DialOption{
				redis.DialReadTimeout(4 * time.Second), redis.DialWriteTimeout(4 * time.Second),
			}, opts...)...)
		},
		MaxIdle: 8,
	}
}

// A borrowGate keeps borrows waiting while it is shut.
type borrowGate struct{ shut chan struct{} }

func (g *borrowGate) wait() {
	if g.shut != nil {
		<-g.shut
	}
}

// gateWrapper is a pool that hides that it is a *redis.Pool, and that ignores contexts.
type gateWrapper struct {
	*redis.Pool
	gate *borrowGate
}

func (p gateWrapper) Get() redis.Conn { p.gate.wait(); return p.Pool.Get() }
func (p gateWrapper) GetContext(context.Context) (redis.Conn, error) {
	c := p.Get()
	return c, c.Err()
}

type getGate struct {
	getPool
	gate *borrowGate
}

func (p getGate) Get() redis.Conn { p.gate.wait(); return p.getPool.Get() }

// sourceFaults hang somewhere until heal is called.
var sourceFaults = []struct {
	name string
	make func(t *testing.T, s *sim.Server, gate *borrowGate) (heal func())
	tls  bool // with TLS only
	dial bool // the pool has no idle connection
}{
	{"dial", func(t *testing.T, s *sim.Server, _ *borrowGate) func() { return s.HangDials() }, false, true},
	{"handshake", func(t *testing.T, s *sim.Server, _ *borrowGate) func() { return s.HangHandshakes() }, true, true},
	{"borrow", func(t *testing.T, s *sim.Server, g *borrowGate) func() {
		shut := make(chan struct{})
		g.shut = shut
		return func() { close(shut) }
	}, false, false},
	{"before the reply", func(t *testing.T, s *sim.Server, _ *borrowGate) func() { return s.Pause() }, false, false},
	{"in the reply", func(t *testing.T, s *sim.Server, _ *borrowGate) func() {
		s.Rule(func(sim.Request) sim.Action { return sim.Stop(1) })
		return func() { s.Rule(nil) }
	}, false, false},
	{"half-open", func(t *testing.T, s *sim.Server, _ *borrowGate) func() { s.HalfOpen(); return func() {} }, false, false},
}

// sourceVerbs are the verbs; k is held by the Locker.
var sourceVerbs = []struct {
	name     string
	do       func(ctx context.Context, l *redigolock.Locker, k *redigolock.Lock) error
	waits    bool // until its context ends
	detached bool // its context does not end it, and it may take two OpTimeouts
}{
	{"TryAcquire", func(ctx context.Context, l *redigolock.Locker, _ *redigolock.Lock) error {
		_, err := l.TryAcquire(ctx, "other", time.Minute)
		return err
	}, false, false},
	{"Acquire", func(ctx context.Context, l *redigolock.Locker, _ *redigolock.Lock) error {
		_, err := l.Acquire(ctx, "other", time.Minute)
		return err
	}, true, false},
	{"Do", func(ctx context.Context, l *redigolock.Locker, _ *redigolock.Lock) error {
		return l.Do(ctx, "other", time.Minute, func(context.Context, *redigolock.Lock) error { return nil })
	}, true, false},
	{"TryDo", func(ctx context.Context, l *redigolock.Locker, _ *redigolock.Lock) error {
		return l.TryDo(ctx, "other", time.Minute, func(context.Context, *redigolock.Lock) error { return nil })
	}, false, false},
	{"Attach", func(ctx context.Context, l *redigolock.Locker, k *redigolock.Lock) error {
		_, err := l.Attach(ctx, "key", k.Token(), time.Minute)
		return err
	}, false, false},
	{"Verify", func(ctx context.Context, _ *redigolock.Locker, k *redigolock.Lock) error { return k.Verify(ctx) }, false, false},
	{"Extend", func(ctx context.Context, _ *redigolock.Locker, k *redigolock.Lock) error {
		return k.Extend(ctx, time.Hour)
	}, false, false},
	{"Fence", func(ctx context.Context, _ *redigolock.Locker, k *redigolock.Lock) error {
		_, err := k.Fence(ctx)
		return err
	}, false, false},
	{"Release", func(ctx context.Context, _ *redigolock.Locker, k *redigolock.Lock) error { return k.Release(ctx) }, false, true},
}

func TestEveryVerbReturnsAtItsBound(t *testing.T) {
	for _, pool := range sourcePools {
		for _, fault := range sourceFaults {
			if fault.tls && !pool.tls {
				continue
			}
			for _, verb := range sourceVerbs {
				for _, bound := range []string{"ctx", "OpTimeout"} {
					if verb.waits && bound == "OpTimeout" {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%s", pool.name, fault.name, verb.name, bound), func(t *testing.T) {
						t.Parallel()
						inBubble(t, func(t *testing.T, s *sim.Server) {
							gate := &borrowGate{}
							p, redigo := pool.make(s, gate)
							if fault.dial {
								redigo.MaxIdle = 0
							}
							l := &redigolock.Locker{Pool: p, OpTimeout: 200 * time.Millisecond}
							if bound == "ctx" {
								l.OpTimeout = time.Second
							}
							k, err := l.TryAcquire(bg, "key", time.Minute)
							if err != nil {
								t.Fatal(err)
							}
							heal := fault.make(t, s, gate)
							want := l.OpTimeout
							ctx := bg
							if bound == "ctx" {
								want = 100 * time.Millisecond
								var cancel context.CancelFunc
								ctx, cancel = context.WithTimeoutCause(bg, want, errTestCause)
								defer cancel()
							}
							begin := time.Now()
							err = verb.do(ctx, l, k)
							took := time.Since(begin)
							switch {
							case verb.detached && took > 2*l.OpTimeout, !verb.detached && took > want:
								t.Errorf("returned after %v, want %v: %v", took, want, err)
							case err == nil && took == 0 && (fault.name == "borrow" || fault.name == "half-open"): // does not concern this pool, or was healed
							case verb.detached && err == nil: // on a new connection
							case took != want && !verb.detached:
								t.Errorf("returned after %v, want %v exactly: %v", took, want, err)
							case bound == "ctx" && !verb.detached && !errors.Is(err, errTestCause):
								t.Errorf("does not tell why ctx ended: %v", err)
							}
							time.Sleep(12 * time.Second) // the longest timeout of what was left
							heal()
							time.Sleep(time.Second)
							if err := l.Close(); err != nil {
								t.Error(err)
							}
							redigo.Close()
							time.Sleep(12 * time.Second)
							synctest.Wait()
							if n := s.Conns(); n > 0 {
								t.Errorf("%d connections are left", n)
							}
						})
					})
				}
			}
		}
	}
}

// The second try takes longer than the ttl is good for, so what it finds must be renewed; and somebody else has the pool's
// only connection by then.
func TestTryAcquireAdoptsWithinTheSameOpTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		pool := simPool(t, s, "redis")
		pool.MaxActive = 1
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		pool.Get().Close()
		s.Next("set", sim.Swallow())
		s.SlowDials(800 * time.Millisecond)
		time.AfterFunc(150*time.Millisecond, func() { pool.Get() })
		inTime(t, "TryAcquire", redigolock.DefaultOpTimeout, func() {
			_, err := l.TryAcquire(bg, "key", 100*time.Millisecond)
			wants(t, err, redigolock.ErrUnavailable, redigolock.ErrUnknown)
		})
	})
}

// A func of the user's may panic between a command and its reply. The connection is cut at once then, however long the server
// takes, and nobody borrows it again.
func TestConnectionThatAPanicLeftWithAReplyDueIsCut(t *testing.T) {
	for how, end := range ends {
		for _, pool := range []string{"pool", "Get only", "Mux"} {
			for _, verb := range []string{"acquire", "release"} {
				t.Run(pool+"/"+verb+"/"+how, func(t *testing.T) {
					inBubble(t, func(t *testing.T, s *sim.Server) {
						redigo := simPool(t, s, "redis")
						l := simLocker(t, &redigolock.Locker{Pool: redigo, OpTimeout: time.Second})
						switch pool {
						case "Get only":
							l.Pool = getPool{Pool: redigo}
						case "Mux":
							m := &redigolock.Mux{Pool: redigo}
							t.Cleanup(func() { m.Close() })
							l.Pool = m
						}
						armed := false
						once := func(c redis.Conn) {
							if armed {
								armed = false
								_ = c.Send("PING")
								if pool != "Mux" { // where Flush waits for the reply, too
									_ = c.Flush()
								}
								end()
							}
						}
						l.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
							once(c)
							return redigolock.SetNXVerified(ctx, c, key, token, ttl)
						}
						l.ReleaseWith = func(ctx context.Context, c redis.Conn, key, token string) error {
							once(c)
							return redigolock.Release(ctx, c, key, token)
						}
						call := func() { _, _ = l.TryAcquire(bg, "key", time.Minute) }
						if verb == "release" {
							k := mustGet(t)(l.TryAcquire(bg, "key", time.Minute))
							call = func() { _ = k.Release(bg) }
						}
						goOn := s.Pause()
						armed = true
						inTime(t, "the call", 0, func() {
							if aside(call) {
								t.Error("the call returned")
							}
						})
						if n := redigo.IdleCount(); n != 0 && pool != "Mux" {
							t.Errorf("%d connections were given back", n)
						}
						goOn()
						time.Sleep(10 * time.Second) // what may be left is removed
						k := mustGet(t)(l.TryAcquire(bg, "key", time.Minute))
						if err := k.Verify(bg); err != nil {
							t.Error(err)
						}
						if err := k.Release(bg); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
}
