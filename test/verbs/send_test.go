package verbs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/wire"
)

// promptly is what "at once" may take on a busy machine; connections of dialFor would wait for 30 s.
const promptly = 10 * time.Second

// wantLostReply wants the error of a command that was sent and not answered, on a connection that is dead.
func wantLostReply(t *testing.T, what string, err error, c redis.Conn) {
	t.Helper()
	wants(t, err, redigolock.ErrUnknown)
	wantsNot(t, err, redigolock.ErrHeld, redigolock.ErrNotHeld, redigolock.ErrExpired, redigolock.ErrInvalid)
	if c.Err() == nil {
		t.Errorf("%s: the connection lives, and its reply is still due", what)
	}
}

// endings are the ways in which a context ends while a reply is awaited. sent is closed when the command has arrived.
var endings = map[string]func(sent <-chan struct{}) (context.Context, func()){
	"deadline": func(<-chan struct{}) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(bg, 30*time.Millisecond)
		return ctx, cancel
	},
	"deadline with cause": func(<-chan struct{}) (context.Context, func()) {
		ctx, cancel := context.WithTimeoutCause(bg, 30*time.Millisecond, errTestCause)
		return ctx, cancel
	},
	"cancelled": func(sent <-chan struct{}) (context.Context, func()) {
		ctx, cancel := context.WithCancel(bg)
		stop := afterSent(sent, cancel)
		return ctx, stop
	},
	"cancelled with cause": func(sent <-chan struct{}) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(bg)
		stop := afterSent(sent, func() { cancel(errTestCause) })
		return ctx, stop
	},
	"cancelled with cause, long before its deadline": func(sent <-chan struct{}) (context.Context, func()) {
		parent, cancel := context.WithCancelCause(bg)
		ctx, cancelChild := context.WithTimeout(parent, time.Hour)
		stop := afterSent(sent, func() { cancel(errTestCause) })
		return ctx, func() { stop(); cancelChild() }
	},
}

// afterSent calls cancel after sent, or when the func that it returns is called.
func afterSent(sent <-chan struct{}, cancel func()) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-sent:
		case <-over:
		}
		cancel()
	}()
	return func() { close(over); <-done }
}

func TestContextThatEndsWhileAReplyIsAwaited(t *testing.T) {
	s := newVerbSite(t, redistest.StartMini(t).Addr(), false)
	s.knowScripts()
	for how, end := range endings {
		for _, v := range allVerbs {
			if t.Failed() {
				return // each failure can take half a minute
			}
			t.Run(v.name+"/"+how, func(t *testing.T) {
				testLostToItsContext(t, s, v, end)
			})
		}
	}
}

func testLostToItsContext(
	t *testing.T, s *verbSite, v verbCall, end func(sent <-chan struct{}) (context.Context, func()),
) {
	proxy := redistest.NewProxy(t, s.addr) // a new one: a request of before could still be on its way
	sent := make(chan struct{})
	n := 0
	proxy.Rule(func(redistest.Request) redistest.Action {
		if n++; n == 1 {
			close(sent)
		}
		return redistest.Swallow()
	})
	var c redis.Conn
	var ctx context.Context
	err := untilSent(func() int { return len(proxy.Requests()) }, func() error {
		var stop func()
		c = dialFor(t, proxy.Addr())
		ctx, stop = end(sent)
		defer stop()
		begin := time.Now()
		err := v.call(ctx, c, "k", "tok", minute)
		if took := time.Since(begin); took > promptly {
			t.Fatalf("returned after %v", took)
		}
		if ctx.Err() == nil {
			t.Fatal("the context has not even ended")
		}
		return err
	})
	wantLostReply(t, v.name, err, c)
	wants(t, err, ctx.Err(), context.Cause(ctx))
}

// faults are what can happen to a reply, and to the connection, without any context. Each leaves the outcome unknown.
var faults = map[string]func() redistest.Action{
	"lost":               redistest.Drop,
	"never sent":         redistest.Cut,
	"cut after 1 byte":   func() redistest.Action { return redistest.Truncate(1) },
	"cut after 2 bytes":  func() redistest.Action { return redistest.Truncate(2) },
	"no protocol":        func() redistest.Action { return redistest.Reply("HTTP/1.1 400 Bad Request\r\n\r\n") },
	"bad length":         func() redistest.Action { return redistest.Reply("$x\r\n") },
	"bad number":         func() redistest.Action { return redistest.Reply(":1x\r\n") },
	"empty line":         func() redistest.Action { return redistest.Reply("\r\n") },
	"no carriage return": func() redistest.Action { return redistest.Reply("+OK\n") },
}

func TestBrokenReplyIsUnknown(t *testing.T) {
	s := newVerbSite(t, redistest.StartMini(t).Addr(), false)
	s.knowScripts()
	for how, fault := range faults {
		for _, v := range allVerbs {
			for i, command := range v.commands { // each command of a pipeline
				t.Run(fmt.Sprintf("%s/%s/%s", v.name, command, how), func(t *testing.T) {
					v.prepare(s, "k", "tok")
					proxy := redistest.NewProxy(t, s.addr) // a new one: a request of before could still be on its way
					n := 0
					proxy.Rule(func(redistest.Request) redistest.Action {
						if n++; n == i+1 {
							return fault()
						}
						return redistest.Pass()
					})
					c := dialFor(t, proxy.Addr())
					err := v.call(bg, c, "k", "tok", minute)
					if command == "DELIFEQ" { // DELEX has said that it did it
						if err != nil || c.Err() == nil {
							t.Errorf("%v, and the connection lives: %v", err, c.Err() == nil)
						}
						return
					}
					wantLostReply(t, v.name, err, c)
				})
			}
		}
	}
}

// Nothing was sent, so the error is definite: the caller may try again without fear.
func TestConnectionThatWasBrokenBeforeIsADefiniteError(t *testing.T) {
	s := redistest.StartMini(t)
	proxy := redistest.NewProxy(t, s.Addr())
	broken := dialFor(t, proxy.Addr())
	if _, err := broken.Do("PING"); err != nil {
		t.Fatal(err)
	}
	proxy.CutAll()
	if _, err := broken.Do("PING"); err == nil {
		t.Fatal("not broken")
	}
	closedPool := s.Pool()
	closedPool.Close()
	returned := s.Pool().Get()
	returned.Close()
	dialFails := &redis.Pool{Dial: func() (redis.Conn, error) { return nil, errNotDialled }}
	for how, c := range map[string]redis.Conn{
		"broken": broken, "of a closed pool": closedPool.Get(), "given back": returned, "never dialled": dialFails.Get(),
	} {
		before := len(proxy.Requests())
		for _, v := range allVerbs {
			err := v.call(bg, c, "k", "tok", minute)
			if err == nil || !errors.Is(err, c.Err()) {
				t.Errorf("%s, %s: %v, want %v", v.name, how, err, c.Err())
			}
			wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrInvalid, redigolock.ErrNotHeld, redigolock.ErrHeld)
		}
		if sent := proxy.Requests()[before:]; len(sent) > 0 {
			t.Errorf("%s: sent %v", how, sent)
		}
	}
}

func TestLateReplyIsNeverReadAsTheAnswerToALaterCommand(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.knowScripts()
	s.put("mine", "tok", minute)
	s.put("theirs", "tok2", minute)
	proxy := redistest.NewProxy(t, s.addr)
	pool := proxy.Pool()
	defer pool.Close()
	for range 20 {
		gate, sent := make(chan struct{}), make(chan struct{})
		n := 0
		proxy.Rule(func(redistest.Request) redistest.Action {
			if n++; n == 1 {
				close(sent)
				return redistest.Hold(gate) // says "mine" once the gate is open
			}
			return redistest.Pass()
		})
		ctx, stop := endings["cancelled"](sent)
		c := pool.Get()
		_, err := redigolock.Verify(ctx, c, "mine", "tok")
		wants(t, err, redigolock.ErrUnknown)
		c.Close()
		stop()
		close(gate)

		c = pool.Get() // would be the same connection, if it lived
		_, err = redigolock.Verify(bg, c, "theirs", "tok")
		wants(t, err, redigolock.ErrNotHeld)
		info, err := redigolock.Inspect(bg, c, "theirs")
		if err != nil || info.Token != "tok2" {
			t.Errorf("%+v, %v", info, err)
		}
		c.Close()
	}
}

// FACTS: 50 of 50 cancelled SETs were carried out once the paused server went on. This is why unknown is unknown.
func TestCancelledCommandsAreCarriedOutAllTheSame(t *testing.T) {
	server := redistest.Start(t)
	s := newVerbSite(t, server.Addr(), true)
	const n = 50
	conns := make([]redis.Conn, n)
	for i := range conns {
		conns[i] = s.dial()
	}
	server.Pause()
	done := make(chan error, n)
	ctx, cancel := context.WithTimeoutCause(bg, shortOp, errTestCause)
	defer cancel()
	begin := time.Now()
	for i, c := range conns {
		go func() { done <- redigolock.SetNX(ctx, c, fmt.Sprint("k", i), "tok", minute) }()
	}
	unknown := 0
	for range n {
		err := receive(t, "SetNX returns though the server hangs", done)
		wants(t, err, context.DeadlineExceeded, errTestCause)
		if errors.Is(err, redigolock.ErrUnknown) {
			unknown++
		}
	}
	if took := time.Since(begin); took > promptly {
		t.Errorf("returned after %v", took)
	}
	for _, c := range conns {
		c.Close()
	}
	server.Resume()
	if unknown == 0 {
		t.Fatal("no SET left in time: nothing is tested")
	}
	eventually(t, fmt.Sprintf("the %d SETs whose outcome was unknown are carried out", unknown), func() bool {
		return s.do("DBSIZE").(int64) == int64(unknown)
	})
}

// plainConn hides everything but redis.Conn's own methods.
type plainConn struct{ redis.Conn }

// timeoutConn has timeouts, and knows no contexts.
type timeoutConn struct{ redis.Conn }

func (c timeoutConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, cmd, args...)
}
func (c timeoutConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

// Every verb works on every connection there is, with every context. A pooled connection claims to have timeouts and
// contexts, and finds out only when asked that the connection inside has none.
func TestVerbsWorkOnAnyConnection(t *testing.T) {
	deadline, cancel := context.WithTimeout(bg, time.Hour)
	defer cancel()
	cancellable, cancel2 := context.WithCancel(bg)
	defer cancel2()
	contexts := map[string]context.Context{"background": bg, "deadline": deadline, "cancellable": cancellable}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		inPool := func(wrap func(redis.Conn) redis.Conn) redis.Conn {
			pool := &redis.Pool{Dial: func() (redis.Conn, error) { return wrap(s.dial()), nil }}
			t.Cleanup(func() { pool.Close() })
			return pool.Get()
		}
		asIs := func(c redis.Conn) redis.Conn { return c }
		plain := func(c redis.Conn) redis.Conn { return plainConn{c} }
		timeouts := func(c redis.Conn) redis.Conn { return timeoutConn{c} }
		for kind, c := range map[string]redis.Conn{
			"redigo's": s.dial(), "plain": plainConn{s.dial()}, "with timeouts": timeoutConn{s.dial()},
			"pooled": inPool(asIs), "pooled plain": inPool(plain), "pooled with timeouts": inPool(timeouts),
			"plain pooled": plainConn{inPool(asIs)}, "logging": redis.NewLoggingConn(s.dial(), discardLogger, ""),
		} {
			for ending, ctx := range contexts {
				for _, v := range allVerbs {
					if !v.supported(s) {
						continue
					}
					v.prepare(s, "k", "tok")
					if err := v.call(ctx, c, "k", "tok", 2*minute); err != nil {
						t.Errorf("%s on a %s connection with a %s context: %v", v.name, kind, ending, err)
					}
				}
				s.do("FLUSHDB")
			}
			s.wantPlain(c, "k")
			c.Close()
		}
	})
}

func TestConnectionWithTimeoutsButWithoutContextsHonoursTheDeadline(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.StartMini(t).Addr())
	proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Swallow() })
	bare := func() redis.Conn { return timeoutConn{dialFor(t, proxy.Addr())} }
	pool := &redis.Pool{Dial: func() (redis.Conn, error) { return bare(), nil }}
	defer pool.Close()
	for _, v := range allVerbs {
		for kind, get := range map[string]func() redis.Conn{"bare": bare, "pooled": pool.Get} {
			var c redis.Conn
			err := untilSent(func() int { return len(proxy.Requests()) }, func() error {
				c = get()
				ctx, cancel := context.WithTimeoutCause(bg, 20*time.Millisecond, errTestCause)
				defer cancel()
				begin := time.Now()
				defer func() {
					if took := time.Since(begin); took > promptly {
						t.Fatalf("%s on a %s connection returned after %v", v.name, kind, took)
					}
				}()
				return v.call(ctx, c, "k", "tok", minute)
			})
			wantLostReply(t, v.name, err, c)
			wants(t, err, context.DeadlineExceeded, errTestCause)
			c.Close()
		}
	}
}

// The deadline is that of the whole exchange: ReceiveWithTimeout alone would give each reply the full time anew.
func TestDeadlineIsForThePipelineAsAWhole(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.StartMini(t).Addr())
	const step = 400 * time.Millisecond
	n := 0
	proxy.Rule(func(redistest.Request) redistest.Action {
		n++
		return redistest.Delay(time.Duration(n) * step)
	})
	ctx, cancel := context.WithTimeout(bg, step*3/2)
	defer cancel()
	c := timeoutConn{dialFor(t, proxy.Addr())} // without the help of a cancellation
	err := redigolock.SetNXVerified(ctx, c, "k", "tok", minute)
	wantLostReply(t, "SetNXVerified", err, c)
	wants(t, err, context.DeadlineExceeded)
}

// An answer that has come decides, even if the context ended in the same moment.
func TestReplyThatHasComeDecidesThoughTheContextEnded(t *testing.T) {
	for _, tc := range []struct {
		verb    int // in allVerbs
		replies []any
		want    error // nil: success
	}{
		{0, []any{"OK"}, nil},
		{0, []any{nil}, redigolock.ErrHeld},
		{1, []any{"OK", []byte("tok")}, nil},
		{2, []any{nil}, nil},
		{2, []any{[]byte("tok2")}, redigolock.ErrHeld},
		{3, []any{int64(1)}, nil},
		{7, []any{int64(1)}, nil},
		{7, []any{int64(0)}, redigolock.ErrNotHeld},
	} {
		ctx, cancel := context.WithCancel(bg)
		last := len(tc.replies)
		c := &scriptedConn{Replies: tc.replies, OnReply: func(n int) {
			if n == last {
				cancel()
			}
		}}
		err := allVerbs[tc.verb].call(ctx, c, "k", "tok", minute)
		if tc.want == nil && err != nil {
			t.Errorf("%s: %v", allVerbs[tc.verb].name, err)
		} else if tc.want != nil {
			wants(t, err, tc.want)
			wantsNot(t, err, redigolock.ErrUnknown)
		}
		cancel()
	}
}

// A Locker's commands share their arguments' memory, and a connection may read them as late as at Flush.
func TestArgumentsOfAPipelineStayUntilItIsFlushed(t *testing.T) {
	for name, tc := range map[string]struct {
		acquire redigolock.AcquireFunc
		release redigolock.ReleaseFunc
		replies func(token []byte) []any
		want    []string
	}{
		"SetNXVerified and ReleaseTx": {
			redigolock.SetNXVerified, redigolock.ReleaseTx,
			func(token []byte) []any {
				return []any{"OK", token, "OK", token, "OK", "QUEUED", nil, "OK", token, "OK", "QUEUED", []any{int64(1)}}
			},
			[]string{
				"SET k T NX PX 60000", "GET k", "WATCH k", "GET k", "MULTI", "DEL k", "EXEC",
				"WATCH k", "GET k", "MULTI", "DEL k", "EXEC",
			},
		},
		"SetNX and ReleaseNative": {
			redigolock.SetNX, redigolock.ReleaseNative,
			func([]byte) []any { return []any{"OK", redis.Error("ERR unknown command 'DELEX'"), int64(1)} },
			[]string{"SET k T NX PX 60000", "DELEX k IFEQ T", "DELIFEQ k T"},
		},
	} {
		c := &tokenConn{scriptedConn: &scriptedConn{}, replies: tc.replies}
		l := &redigolock.Locker{
			Pool: poolFunc(func() redis.Conn { return c }), AcquireWith: tc.acquire, ReleaseWith: tc.release,
		}
		k, err := l.TryAcquire(bg, "k", minute)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := k.Release(bg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range c.Commands {
			c.Commands[i] = strings.ReplaceAll(c.Commands[i], k.Token(), "T")
		}
		if !slices.Equal(c.Commands, tc.want) {
			t.Errorf("%s sent %q, want %q", name, c.Commands, tc.want)
		}
	}
}

// A tokenConn is a scriptedConn whose replies contain the token that came in the first command.
type tokenConn struct {
	*scriptedConn
	replies func(token []byte) []any
}

func (c *tokenConn) know() {
	if c.scriptedConn.Replies == nil && len(c.Commands) > 0 {
		c.scriptedConn.Replies = c.replies([]byte(strings.Fields(c.Commands[0])[2]))
	}
}

func (c *tokenConn) Flush() error {
	err := c.scriptedConn.Flush()
	c.know()
	return err
}

func (c *tokenConn) Do(cmd string, args ...any) (any, error) {
	_ = c.Send(cmd, args...)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return c.Receive()
}

// BenchmarkCancellable measures one SET with a context that can be cancelled: as cutOnCancel has it, by redigo's
// DoContext, and plain, without any context.
func BenchmarkCancellable(b *testing.B) {
	server := redistest.Start(b)
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	args := []any{"k", "token", "PX", int64(60000)}
	for _, way := range []struct {
		name string
		set  func(c redis.Conn) (any, error)
	}{
		{"plain", func(c redis.Conn) (any, error) { return c.Do("SET", args...) }},
		{"cut", func(c redis.Conn) (any, error) {
			var replies [1]any
			res := wire.Exchange(ctx, c, []wire.Request{{Cmd: "SET", Args: args}}, replies[:])
			return replies[0], res.Err
		}},
		{"docontext", func(c redis.Conn) (any, error) { return redis.DoContext(c, ctx, "SET", args...) }},
	} {
		b.Run("way="+way.name, func(b *testing.B) {
			c := dialFor(b, server.Addr())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := way.set(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An odd connection fails without dying, as one of somebody's own may.
type oddConn struct {
	redis.Conn
	cut bool
}

func (c *oddConn) Err() error { return nil }

func (c *oddConn) Do(string, ...any) (any, error) { return nil, errors.New("odd") }

func (c *oddConn) DoContext(context.Context, string, ...any) (any, error) { return c.Do("") }

func (c *oddConn) ReceiveContext(ctx context.Context) (any, error) {
	c.cut = ctx.Err() != nil
	return nil, ctx.Err()
}

func TestConnectionThatFailsWithoutDyingIsCut(t *testing.T) {
	c := &oddConn{}
	if err := redigolock.SetNX(bg, c, "key", "token", time.Second); !errors.Is(err, redigolock.ErrUnknown) {
		t.Errorf("%v, want ErrUnknown", err)
	}
	if !c.cut {
		t.Error("the connection may be lent again, and its reply is still due")
	}
}
