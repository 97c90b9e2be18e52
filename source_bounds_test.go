package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

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
		return getGate{getPool{p}, g}, p
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
							l.Pool = getPool{redigo}
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
							k := got(t)(l.TryAcquire(bg, "key", time.Minute))
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
						k := got(t)(l.TryAcquire(bg, "key", time.Minute))
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
