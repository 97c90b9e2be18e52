package mux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/groupcommit"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

func TestMuxWaitingCallersTravelInFewWritesAndInTheirOrder(t *testing.T) {
	r := newMuxRig(t, 0)
	var w writes
	pool := w.pool(r.TCP().Addr())
	t.Cleanup(func() { pool.Close() })
	r.mux = newMux(t, pool, 0)
	let := r.fill()
	const n = groupcommit.MaxGroup + 100
	var all []<-chan echo
	for i := range n {
		all = append(all, r.queue(bg, 0, fmt.Sprint(i)))
	}
	before := w.now()
	let()
	for i, ch := range all {
		r.answered(fmt.Sprint(i), ch)
	}
	if writes := w.now() - before; writes > 6 { // two batches, and perhaps the first one's buffer in parts
		t.Errorf("%d writes for %d callers", writes, n)
	}
	for i, q := range r.Sent("echo")[groupcommit.MaxFlying+1:] {
		if q.Args[0] != fmt.Sprint(i) {
			t.Fatalf("%s came as number %d", q.Args[0], i)
		}
	}
}

func TestMuxSlowCommandHoldsUpItsConnectionOnly(t *testing.T) {
	r := newMuxRig(t, 2)
	slow := r.echo(bg, 0, "hold")
	r.arrived("hold")
	r.answered("second lane", r.echo(bg, 0, "second lane"))
	start := time.Now()
	eventually(t, "it is slow", func() bool { return time.Since(start) > 50*time.Millisecond })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				if text, err := redis.String(redis.DoWithTimeout(r.mux.Get(), 5*time.Second, "ECHO", "fast")); text != "fast" {
					t.Error(text, err)
					return
				}
			}
		})
	}
	wg.Wait()
	r.let("hold")
	r.answered("hold", slow)
	if n := r.Proxy.Conns(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestMuxUsesNoMoreThanConnsConnections(t *testing.T) {
	for _, c := range []struct{ conns, want int }{{0, 1}, {1, 1}, {4, 4}} {
		r := newMuxRig(t, c.conns)
		var all []<-chan echo
		for i := range 40 {
			all = append(all, r.echo(bg, 0, fmt.Sprint("hold ", i)))
		}
		eventually(t, "all connections are used", func() bool { return r.Proxy.Conns() >= c.want })
		for i := range all {
			r.let(fmt.Sprint("hold ", i))
		}
		for i, ch := range all {
			r.answered(fmt.Sprint("hold ", i), ch)
		}
		if n := r.Proxy.Conns(); n != c.want {
			t.Errorf("Conns %d: %d connections", c.conns, n)
		}
		r.OK(r.mux.Close())
		eventually(t, "none is left", func() bool { return r.Proxy.Conns() == 0 })
	}
}

func TestMuxCloseAtEachStage(t *testing.T) {
	r := newMuxRig(t, 0)
	let := r.fill()
	queued := r.queue(bg, 0, "queued")
	r.OK(r.mux.Close())
	got := receive(t, "the queued", queued)
	wants(t, got.err, redigolock.ErrClosed)
	let() // those in flight are answered
	for _, q := range r.Sent("echo") {
		if q.Args[0] == "queued" {
			t.Error("sent after Close")
		}
	}
	_, err := r.mux.GetContext(bg)
	wants(t, err, redigolock.ErrClosed)
	_, err = got.conn.Do("ECHO", "x")
	wants(t, err, redigolock.ErrClosed)
	_, err = r.Locker.TryAcquire(bg, "key", time.Minute)
	wants(t, err, redigolock.ErrClosed)
	wantsNot(t, err, redigolock.ErrUnknown)
	r.OK(r.mux.Close())
	eventually(t, "no connection is left", func() bool { return r.Proxy.Conns() == 0 })
}

func TestMuxConnectionThatBreaksIsUnknownForAllInFlightAndTheRestGoOn(t *testing.T) {
	r := newMuxRig(t, 0)
	var all []<-chan error
	texts := r.fillWith(func(text string) {
		all = append(all, inBackground(func() error {
			c := r.mux.Get()
			defer c.Close()
			return do(bg, c, "ECHO", text)
		}))
	})
	queued := r.queue(bg, 0, "queued")
	r.Proxy.CutAll()
	for _, ch := range all {
		wants(t, receive(t, "a broken one", ch), redigolock.ErrUnknown)
	}
	r.let(texts...)
	r.answered("queued", queued)
}

// A ownDialer dials as dial says.
type ownDialer struct {
	dial func(ctx context.Context) (redis.Conn, error)
}

func (p *ownDialer) Get() redis.Conn { panic("to be dialled") }

func (p *ownDialer) DialContext(ctx context.Context) (redis.Conn, error) { return p.dial(ctx) }

func TestMuxDialThatFailsOrPanicsIsDefiniteAndTheNextDialsAnew(t *testing.T) {
	r := newMuxRig(t, 0)
	var how func() error
	r.mux = newMux(t, &ownDialer{func(context.Context) (redis.Conn, error) {
		if how != nil {
			return nil, how()
		}
		return redis.Dial("tcp", r.TCP().Addr())
	}}, 0)
	r.Locker.Pool = r.mux
	refused := errors.New("refused")
	how = func() error { return refused }
	_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
	wants(t, err, refused)
	wantsNot(t, err, redigolock.ErrUnknown)
	how = func() error { panic("a dial of the user's own") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = r.mux.Get().Do("ECHO", "x")
	}()
	how = nil
	r.answered("next", r.echo(bg, 0, "next"))
}

// A moodyConn panics or fails in one Receive, without dying, and has the reply still due.
type moodyConn struct {
	redis.Conn
	mood *atomic.Int32 // 1: fail, 2: panic, 3: panic, and in Close too
}

func (c moodyConn) Receive() (any, error) {
	switch c.mood.Load() {
	case 1:
		c.mood.Store(0)
		return nil, errors.New("moody")
	case 2:
		c.mood.Store(0)
		panic("moody")
	case 3:
		panic("moody")
	}
	return c.Conn.Receive()
}

func (c moodyConn) Close() error {
	if c.mood.CompareAndSwap(3, 0) {
		defer panic("moody too")
	}
	return c.Conn.Close()
}

func TestMuxForeignConnectionThatFailsOrPanicsWithoutDyingGivesNobodyAWrongReply(t *testing.T) {
	for mood := range int32(3) {
		r := newMuxRig(t, 0)
		m := &atomic.Int32{}
		r.mux = newMux(t, &ownDialer{func(context.Context) (redis.Conn, error) {
			c, err := redis.Dial("tcp", r.TCP().Addr())
			return moodyConn{c, m}, err
		}}, 0)
		ask := func(text string) <-chan echo {
			return inBackground(func() (e echo) {
				defer func() {
					if p := recover(); p != nil {
						e = echo{err: fmt.Errorf("%v", p)}
					}
				}()
				text, err := redis.String(r.mux.Get().Do("ECHO", text))
				return echo{text: text, err: err}
			})
		}
		r.answered("first", ask("first"))
		let := r.fillBy(ask)
		leader, follower := r.queueBy(ask, "leader"), r.queueBy(ask, "follower")
		m.Store(mood + 1)
		let()
		for text, ch := range map[string]<-chan echo{"leader": leader, "follower": follower} {
			if got := receive(t, text, ch); got.err == nil && got.text != text {
				t.Errorf("%s got %q", text, got.text)
			}
		}
		r.answered("next", ask("next"))
	}
}

// fillBy is fill, where the replies may also be errors.
func (r *muxRig) fillBy(ask func(text string) <-chan echo) (let func()) {
	r.T.Helper()
	var all []<-chan echo
	texts := r.fillWith(func(text string) { all = append(all, ask(text)) })
	return func() {
		r.T.Helper()
		r.let(texts...)
		for i, ch := range all {
			if got := receive(r.T, texts[i], ch); got.err == nil && got.text != texts[i] {
				r.T.Errorf("%s got %q", texts[i], got.text)
			}
		}
	}
}

func (r *muxRig) queueBy(ask func(text string) <-chan echo, text string) <-chan echo {
	r.T.Helper()
	n := r.mux.Stats().Queued
	ch := ask(text)
	eventually(r.T, text+" is queued", func() bool { return r.mux.Stats().Queued == n+1 })
	return ch
}

func TestMuxWorksOverEveryKindOfConnectionAndPool(t *testing.T) {
	server := redistest.Start(t)
	dial := func(wrap func(redis.Conn) redis.Conn) redigolock.Pool {
		return &ownDialer{func(context.Context) (redis.Conn, error) {
			c, err := server.Dial()
			return wrap(c), err
		}}
	}
	for name, pool := range map[string]redigolock.Pool{
		"plain":      dial(func(c redis.Conn) redis.Conn { return plainConn{c} }),
		"timeouts":   dial(func(c redis.Conn) redis.Conn { return timeoutConn{c} }),
		"only Get":   getPool{server.Pool()},
		"GetContext": contextPool{getPool{server.Pool()}},
		"plain, from a pool": getPool{&redis.Pool{Dial: func() (redis.Conn, error) {
			c, err := server.Dial()
			return plainConn{c}, err
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &muxStorm{mux: newMux(t, pool, 2)}
			var wg sync.WaitGroup
			for w := range 32 {
				wg.Go(func() {
					for i := range 30 {
						if err := s.ask(bg, (w+i)%3); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestMuxRefusesAClustersPool(t *testing.T) {
	server := redistest.StartMini(t)
	closed := false
	m := newMux(t, &ownDialer{func(context.Context) (redis.Conn, error) {
		return &bindsConn{server.Pool().Get(), &closed}, nil
	}}, 0)
	_, err := (&redigolock.Locker{Pool: m}).TryAcquire(bg, "key", time.Minute)
	wants(t, err, redigolock.ErrInvalid)
	wantsNot(t, err, redigolock.ErrUnknown)
	if !closed {
		t.Error("the connection is left")
	}
}

type bindsConn struct {
	redis.Conn
	closed *bool
}

func (*bindsConn) Bind(...string) error { return nil }

func (c *bindsConn) Close() error {
	*c.closed = true
	return c.Conn.Close()
}

func TestMuxDialsAnewAfterREADONLY(t *testing.T) {
	r := newMuxRig(t, 0)
	r.answered("first", r.echo(bg, 0, "first"))
	old := r.Sent("echo")[0].Conn
	r.Proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Conn == old {
			return redistest.Reply("-READONLY You can't write against a read only replica.\r\n")
		}
		return redistest.Pass()
	})
	ctx, cancel := context.WithTimeout(bg, 5*time.Second)
	defer cancel()
	k := r.Must(r.Locker.Acquire(ctx, "key", time.Minute))
	r.OK(k.Release(bg))
}

func TestMuxTestsAConnectionThatWasIdleForLong(t *testing.T) {
	now, idle := 5*time.Second, 11*time.Second
	for _, c := range []struct {
		name        string
		change      func(*redis.Pool, *atomic.Int64)
		idle        time.Duration
		dials, asks int64
	}{
		{"not idle", func(*redis.Pool, *atomic.Int64) {}, now, 1, 0},
		{"by PING", func(*redis.Pool, *atomic.Int64) {}, idle, 1, 1},
		{"IdleTimeout", func(p *redis.Pool, _ *atomic.Int64) { p.IdleTimeout = 4 * time.Second }, now, 2, 0},
		{"MaxConnLifetime", func(p *redis.Pool, _ *atomic.Int64) { p.MaxConnLifetime = 4 * time.Second }, now, 2, 0},
		{"TestOnBorrow", func(p *redis.Pool, asked *atomic.Int64) {
			p.TestOnBorrow = func(c redis.Conn, used time.Time) error {
				if time.Since(used) < 10*time.Second {
					return errors.New("it was told another time")
				}
				asked.Add(1)
				return nil
			}
		}, idle, 1, 1},
		{"TestOnBorrowContext that refuses", func(p *redis.Pool, asked *atomic.Int64) {
			p.TestOnBorrowContext = func(context.Context, redis.Conn, time.Time) error { asked.Add(1); return errors.New("bad") }
		}, idle, 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newMuxBubble(t, 0)
				var asked atomic.Int64
				pool := b.server.Pool()
				c.change(pool, &asked)
				b.mux = newMux(t, pool, 0)
				b.echo("first")
				time.Sleep(c.idle)
				b.echo("second")
				b.echo("third")
				asked.Add(int64(b.server.Count("ping")))
				if dials := int64(b.server.Dials()); dials != c.dials || asked.Load() != c.asks {
					t.Errorf("%d dials and %d tests, want %d and %d", dials, asked.Load(), c.dials, c.asks)
				}
				if n := b.server.Conns(); n != 1 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

func TestMuxFindsAfterAPauseThatTheServerHasClosedItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMuxBubble(t, 2)
		b.echo("one")
		time.Sleep(time.Minute)
		b.server.CloseConns()
		b.echo("two")
	})
}

// When no reply comes before a context's deadline, the other connections are replaced, as when none comes within a timeout.
func TestMuxReplacesTheOthersWhenAReplyIsLate(t *testing.T) {
	testbed.InBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		m := newMux(t, testbed.SimPool(t, s, "redis"), 2)
		get := func(ctx context.Context) error {
			c := m.Get().(redis.ConnWithContext)
			defer c.Close()
			_, err := redis.String(c.DoContext(ctx, "GET", "key"))
			return err
		}
		s.Do("SET", "key", "value")
		for range 20 { // what was chance
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					if err := get(bg); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			if n := m.Stats().Conns; n != 2 {
				t.Fatalf("%d connections: this test shows nothing", n)
			}
			ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
			heal := s.BlackHole(sim.ToClient)
			if err := get(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
			heal()
			before := s.Dials()
			if err := get(bg); err != nil {
				t.Error(err)
			}
			if s.Dials() == before {
				t.Error("the other connection was used")
			}
		}
	})
}
