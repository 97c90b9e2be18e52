package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// errOwn is what AcquireFuncs of a user's own return for a reply that does not come.
var errOwn = errors.New("something of its own")

// ownWays are AcquireFuncs that send by each of the methods of their connection. Each hides what it has met.
func ownWays() map[string]redigolock.AcquireFunc {
	way := func(set func(ctx context.Context, c redis.Conn, args ...any) (any, error)) redigolock.AcquireFunc {
		return func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
			reply, err := set(ctx, c, key, token, "NX", "PX", ttl.Milliseconds())
			switch {
			case err != nil:
				return fmt.Errorf("%w: %v", errOwn, err)
			case reply == nil:
				return &redigolock.HeldError{Key: key}
			}
			return nil
		}
	}
	send := func(c redis.Conn, args []any) error {
		if err := c.Send("SET", args...); err != nil {
			return err
		}
		return c.Flush()
	}
	return map[string]redigolock.AcquireFunc{
		"Do": way(func(_ context.Context, c redis.Conn, args ...any) (any, error) { return c.Do("SET", args...) }),
		"DoWithTimeout": way(func(_ context.Context, c redis.Conn, args ...any) (any, error) {
			return redis.DoWithTimeout(c, time.Hour, "SET", args...)
		}),
		"DoContext": way(func(ctx context.Context, c redis.Conn, args ...any) (any, error) {
			return redis.DoContext(c, ctx, "SET", args...)
		}),
		"Receive": way(func(_ context.Context, c redis.Conn, args ...any) (any, error) {
			if err := send(c, args); err != nil {
				return nil, err
			}
			return c.Receive()
		}),
		"ReceiveWithTimeout": way(func(_ context.Context, c redis.Conn, args ...any) (any, error) {
			if err := send(c, args); err != nil {
				return nil, err
			}
			return redis.ReceiveWithTimeout(c, time.Hour)
		}),
	}
}

// ownPools are pools of each kind.
func ownPools(t *testing.T, s *sim.Server) map[string]redigolock.Pool {
	m := &redigolock.Mux{Pool: simPool(t, s, "redis")}
	t.Cleanup(func() { m.Close() })
	return map[string]redigolock.Pool{"NewPool": simPool(t, s, "redis"), "redis.Pool": s.Pool(), "Mux": m}
}

// However an AcquireFunc sends, and whatever it makes of the error: what was sent and not answered is unknown, and is cleaned up.
func TestOwnAcquireFuncWhoseReplyIsLostIsUnknown(t *testing.T) {
	for name, way := range ownWays() {
		for loss, action := range map[string]sim.Action{"cut": sim.Drop(), "hung": sim.Swallow()} {
			t.Run(name+"/"+loss, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					for kind, pool := range ownPools(t, s) {
						l := simLocker(t, &redigolock.Locker{Pool: pool, AcquireWith: way, OpTimeout: 2 * time.Second})
						s.Rule(func(q sim.Request) sim.Action {
							if q.Verb == "set" {
								return action
							}
							return sim.Pass()
						})
						start := time.Now()
						_, err := l.TryAcquire(bg, kind, time.Hour)
						wants(t, err, redigolock.ErrUnknown)
						if took := time.Since(start); took > l.OpTimeout {
							t.Errorf("%s: it took %v, more than OpTimeout", kind, took)
						}
						if n := l.Stats().Owed; n != 1 {
							t.Errorf("%s: %d are owed", kind, n)
						}
						time.Sleep(time.Minute)
						if n, _ := s.Do("EXISTS", kind); n != int64(0) {
							t.Errorf("%s: the key is left", kind)
						}
					}
				})
			})
		}
	}
}

// A shorter timeout of the AcquireFunc's own holds.
func TestOwnTimeoutsAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		for kind, pool := range ownPools(t, s) {
			l := simLocker(t, &redigolock.Locker{Pool: pool,
				AcquireWith: func(_ context.Context, c redis.Conn, key, _ string, _ time.Duration) error {
					s.Next("pttl", sim.Swallow())
					start := time.Now()
					_, err := redis.DoWithTimeout(c, 100*time.Millisecond, "PTTL", key)
					if took := time.Since(start); took != 100*time.Millisecond {
						t.Errorf("%s: a timeout of 100ms took %v: %v", kind, took, err)
					}
					return redigolock.ErrHeld
				}})
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrHeld)
		}
	})
}

// An AcquireFunc that has sent nothing says what it likes of its connection.
func TestOwnAcquireFuncThatSendsNothingIsDefinite(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		for kind, pool := range ownPools(t, s) {
			l := simLocker(t, &redigolock.Locker{Pool: pool,
				AcquireWith: func(_ context.Context, c redis.Conn, _, _ string, _ time.Duration) error {
					c.Close() // it is broken from now on
					return errOwn
				}})
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, errOwn)
			wantsNot(t, err, redigolock.ErrUnknown)
			if n := l.Stats().Owed; n != 0 {
				t.Errorf("%s: %d are owed", kind, n)
			}
		}
	})
}

// What an AcquireFunc knows of the outcome stands, though its connection has broken.
func TestOwnAcquireFuncThatKnowsTheOutcomeIsBelieved(t *testing.T) {
	for _, known := range []error{
		redigolock.ErrHeld, redigolock.ErrConflict, redigolock.ErrInvalid, redigolock.ErrUnsupported, redigolock.ErrUnavailable,
		redis.Error("OOM command not allowed when used memory > 'maxmemory'."), fmt.Errorf("traced: %w", redis.Error("NOPERM no")),
	} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			for kind, pool := range ownPools(t, s) {
				l := simLocker(t, &redigolock.Locker{Pool: pool,
					AcquireWith: func(_ context.Context, c redis.Conn, key, _ string, _ time.Duration) error {
						if _, err := c.Do("PTTL", key); err != nil {
							t.Error(err)
						}
						c.Close()
						return known
					}})
				_, err := l.TryAcquire(bg, "key", time.Minute)
				wants(t, err, known)
				wantsNot(t, err, redigolock.ErrUnknown)
				if n := l.Stats().Owed; n != 0 {
					t.Errorf("%s, %v: %d are owed", kind, known, n)
				}
			}
		})
	}
}

// A onePool is a pool of one connection, which is lent as long as it works, with whatever reply is still due on it. redis.Pool reads
// such a reply when a connection comes back; a pool of a user's need not.
type onePool struct {
	dial func(context.Context) (redis.Conn, error)

	mu    sync.Mutex // protects what follows
	c     redis.Conn
	panic string // the method that panics once
}

func (p *onePool) Get() redis.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c == nil || p.c.Err() != nil {
		p.c, _ = p.dial(bg)
	}
	return &oneConn{p.c, p}
}

// DialContext is for the clean-up.
func (p *onePool) DialContext(ctx context.Context) (redis.Conn, error) { return p.dial(ctx) }

type oneConn struct {
	redis.Conn
	p *onePool
}

// meet panics if it is the turn of this method.
func (c *oneConn) meet(method string) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.p.panic == method {
		c.p.panic = ""
		panic(method)
	}
}

func (c *oneConn) Close() error { return nil }

func (c *oneConn) Receive() (any, error) { return c.ReceiveWithTimeout(0) }

func (c *oneConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	c.meet("receive")
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *oneConn) Do(cmd string, args ...any) (any, error) { return c.DoWithTimeout(0, cmd, args...) }

// DoWithTimeout has a reply due when it panics.
func (c *oneConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	if err := c.Conn.Send(cmd, args...); err != nil {
		return nil, err
	}
	if err := c.Conn.Flush(); err != nil {
		return nil, err
	}
	c.meet("do")
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *oneConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return c.DoWithTimeout(time.Second, cmd, args...)
}

func (c *oneConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

// After a panic in the middle of a command its reply is still due: the connection must not be lent again, or the next who
// borrows it takes that reply for that of its own command. An acquire would take another's OK for its lock.
func TestPanicInTheMiddleOfACommandLeavesNoReplyToTheNext(t *testing.T) {
	ways := ownWays()
	for name, x := range map[string]struct {
		with   redigolock.AcquireFunc
		method string
	}{
		"SetNX":         {redigolock.SetNX, "do"},
		"SetNXVerified": {nil, "receive"},
		"own Do":        {ways["Do"], "do"},
		"own DoContext": {ways["DoContext"], "do"},
		"own Receive":   {ways["Receive"], "receive"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				p := &onePool{dial: func(ctx context.Context) (redis.Conn, error) { return s.DialRedis(ctx) }}
				l := simLocker(t, &redigolock.Locker{Pool: p, AcquireWith: x.with})
				holdByAnother(t, s, "held", time.Hour)
				p.panic = x.method
				func() {
					defer func() {
						if got := recover(); got != x.method {
							t.Errorf("recovered %v", got)
						}
					}()
					_, err := l.TryAcquire(bg, "key", time.Minute)
					t.Errorf("it returned %v", err)
				}()
				_, err := l.TryAcquire(bg, "held", time.Minute)
				wants(t, err, redigolock.ErrHeld)
				time.Sleep(time.Hour) // the clean-up ends
				p.c.Close()
			})
		})
	}
}

// borrowCount is a pool that counts how often it lends.
type borrowCount struct {
	redigolock.Pool
	n     int
	after func() // called before the connection is lent; nil: nothing is
}

func (p *borrowCount) Get() redis.Conn {
	p.n++
	if p.after != nil {
		p.after()
	}
	return p.Pool.Get()
}

func TestEndedContextBorrowsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		p := &borrowCount{Pool: s.Pool()}
		l := simLocker(t, &redigolock.Locker{Pool: p})
		k, err := l.TryAcquire(bg, "key", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		before, sent := p.n, len(s.Requests())
		cause := errors.New("the caller has gone")
		ctx, cancel := context.WithCancelCause(bg)
		cancel(cause)
		for name, use := range lockUses() {
			wants(t, use(ctx, k), context.Canceled, cause)
			synctest.Wait() // a borrow has a goroutine of its own
			if p.n != before {
				t.Errorf("%s borrowed", name)
			}
		}
		if n := len(s.Requests()); n != sent {
			t.Errorf("%d requests were sent", n-sent)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// An AcquireFunc of a user's need not look at its ctx: one that ends while the connection is borrowed keeps it from being
// called at all.
func TestContextThatEndsWhileItBorrowsCallsNoAcquireFunc(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		called := false
		p := &borrowCount{Pool: s.Pool()}
		l := simLocker(t, &redigolock.Locker{Pool: p,
			AcquireWith: func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
				called = true
				return plainSetNX(ctx, c, key, token, ttl)
			}})
		for range 50 { // the connection and the end come in the same moment: either may be seen first
			ctx, cancel := context.WithCancel(bg)
			p.after = cancel
			_, err := l.TryAcquire(ctx, "key", time.Minute)
			wants(t, err, context.Canceled)
			wantsNot(t, err, redigolock.ErrUnknown)
			synctest.Wait() // a borrow that was left brings its connection to whoever seeks one then
		}
		if called {
			t.Error("the AcquireFunc was called")
		}
	})
}

// What an AcquireFunc or a ReleaseFunc of the user's takes, before it sends anything or by a command of its own, is a part of
// OpTimeout, and what is sent after that has the rest.
func TestTimeThatAFuncOfTheUsersTakesIsPartOfOpTimeout(t *testing.T) {
	const most = 2 * time.Second
	for how, take := range map[string]func(c redis.Conn){
		"pause": func(redis.Conn) { time.Sleep(most * 3 / 4) },
		"Do":    func(c redis.Conn) { _, _ = c.Do("PING") },
		"Send": func(c redis.Conn) {
			_, _ = c.Send("PING"), c.Flush()
			_, _ = c.Receive()
		},
		"DoContext": func(c redis.Conn) { _, _ = redis.DoContext(c, bg, "PING") },
	} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				for kind, pool := range ownPools(t, s) {
					slow := false
					l := simLocker(t, &redigolock.Locker{Pool: pool, OpTimeout: most})
					l.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
						if slow {
							take(c)
						}
						return redigolock.SetNXScript(ctx, c, key, token, ttl)
					}
					l.ReleaseWith = func(ctx context.Context, c redis.Conn, key, token string) error {
						take(c)
						return redigolock.Release(ctx, c, key, token)
					}
					k, err := l.TryAcquire(bg, "key of "+kind, time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					slow = true
					s.Rule(func(q sim.Request) sim.Action {
						if q.Verb == "ping" {
							return sim.Slow(most * 3 / 4)
						}
						return sim.Swallow()
					})
					inTime(t, kind+": TryAcquire", most, func() {
						_, err := l.TryAcquire(bg, "other key of "+kind, time.Minute)
						wants(t, err, redigolock.ErrUnknown)
					})
					inTime(t, kind+": Release", 2*most, func() { wants(t, k.Release(bg), redigolock.ErrUnknown) })
					s.Rule(nil)
					time.Sleep(time.Minute)
				}
			})
		})
	}
}
