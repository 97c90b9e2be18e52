package verbs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A tracedConn is a connection as a tracer or an adapter has it: error replies are not those of redigo.
type tracedConn struct {
	redis.Conn
	turn func(error) error
}

func (c *tracedConn) turned(reply any, err error) (any, error) {
	if _, isReply := err.(redis.Error); isReply {
		err = c.turn(err)
	}
	return reply, err
}

func (c *tracedConn) Do(cmd string, args ...any) (any, error) {
	return c.turned(c.Conn.Do(cmd, args...))
}
func (c *tracedConn) Receive() (any, error) { return c.turned(c.Conn.Receive()) }
func (c *tracedConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	return c.turned(redis.DoWithTimeout(c.Conn, d, cmd, args...))
}
func (c *tracedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return c.turned(redis.ReceiveWithTimeout(c.Conn, d))
}
func (c *tracedConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return c.turned(redis.DoContext(c.Conn, ctx, cmd, args...))
}
func (c *tracedConn) ReceiveContext(ctx context.Context) (any, error) {
	return c.turned(redis.ReceiveContext(c.Conn, ctx))
}

func tracedPool(addr string, turn func(error) error) *redis.Pool {
	return &redis.Pool{Dial: func() (redis.Conn, error) {
		c, err := redis.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		return &tracedConn{c, turn}, nil
	}}
}

// A server that does not know the scripts says NOSCRIPT, in whatever dress.
func TestErrorRepliesInAnotherDress(t *testing.T) {
	for name, turn := range testbed.Turns {
		for _, v := range allVerbs {
			t.Run(name+"/"+v.name, func(t *testing.T) {
				s := newVerbSite(t, redistest.StartMini(t).Addr(), false)
				v.prepare(s, "k", "tok")
				pool := tracedPool(s.addr, turn)
				defer pool.Close()
				c := pool.Get()
				defer c.Close()
				if err := v.call(bg, c, "k", "tok", minute); err != nil {
					t.Errorf("on a server that does not know the script: %v", err)
				}
				s.do("DEL", "k")
				s.do("LPUSH", "k", "no lock")
				if err := v.call(bg, c, "k", "tok", minute); v.name == "SetNX" || v.name == "ReleaseNative" {
					return // they cannot see it, or miniredis cannot
				} else if !errors.Is(err, redigolock.ErrConflict) {
					t.Errorf("on a list: %v, want ErrConflict", err)
				}
				if c.Err() != nil {
					t.Errorf("the connection was cut: %v", c.Err())
				}
			})
		}
	}
}

func TestLockersOnErrorRepliesInAnotherDress(t *testing.T) {
	for name, turn := range testbed.Turns {
		for _, kind := range []string{"default", "fair", "Mux"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				addr := redistest.StartMini(t).Addr()
				l := &redigolock.Locker{Pool: tracedPool(addr, turn), Fair: kind == "fair"}
				if kind == "Mux" {
					m := &redigolock.Mux{Pool: l.Pool}
					defer m.Close()
					l.Pool = m
				}
				defer l.Close()
				ctx, cancel := context.WithTimeout(bg, 10*time.Second)
				defer cancel()
				k, err := l.Acquire(ctx, "k", time.Second)
				if err != nil {
					t.Fatal(err)
				}
				before := k.Deadline()
				kept := k.KeepAlive(ctx)
				eventually(t, "it is renewed", func() bool { return k.Deadline().After(before) || kept.Err() != nil })
				_, err = k.Fence(ctx)
				if err := errors.Join(err, k.Verify(ctx), k.Release(ctx)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Replies that no server gives come from adapters, and are an error that names their type. They are no success.
func TestRepliesOfForeignTypesAreNamed(t *testing.T) {
	type strange struct{}
	for _, v := range allVerbs {
		for _, reply := range []any{strange{}, uint8(1), []string{"x"}, map[string]any{}} {
			if _, isList := reply.([]string); isList && v.name == "GuardDo" {
				continue
			}
			err := v.call(bg, &scriptedConn{Replies: []any{reply, reply, reply, "OK"}}, "k", "tok", minute)
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%T", reply)) {
				t.Errorf("%s: %v does not name the type %T", v.name, err, reply)
			}
		}
	}
}

// What was answered before the connection broke counts.
func TestRepliesBeforeTheEndCount(t *testing.T) {
	refusal := redis.Error("NOREPLICAS Not enough good replicas to write.")
	for _, tc := range []struct {
		name    string
		replies []any
		call    redigolock.ReleaseFunc
		want    error
	}{
		{"SET refused", []any{refusal, io.EOF}, setNXVerified, refusal},
		{"SET carried out", []any{"OK", io.EOF}, setNXVerified, redigolock.ErrUnknown},
		{"held, perhaps by this token", []any{nil, io.EOF}, setNXVerified, redigolock.ErrUnknown},
		{"WATCH refused", []any{refusal, io.EOF}, redigolock.ReleaseTx, refusal},
		{"MULTI unanswered", []any{"OK", []byte("tok"), io.EOF}, redigolock.ReleaseTx, redigolock.ErrUnknown},
		{"DEL refused", []any{"OK", []byte("tok"), "OK", refusal, io.EOF}, redigolock.ReleaseTx, refusal},
		{"EXEC unanswered", []any{"OK", []byte("tok"), "OK", "QUEUED", io.EOF}, redigolock.ReleaseTx, redigolock.ErrUnknown},
		{"DELEX did it", []any{int64(1), io.EOF}, redigolock.ReleaseNative, nil},
		{"DELEX found another", []any{int64(0), io.EOF}, redigolock.ReleaseNative, redigolock.ErrNotHeld},
		{"no DELEX", []any{redis.Error("ERR unknown command 'DELEX'"), io.EOF}, redigolock.ReleaseNative, redigolock.ErrUnknown},
		{"DELEX denied", []any{redis.Error("NOPERM no"), io.EOF}, redigolock.ReleaseNative, redigolock.ErrUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call(bg, &scriptedConn{Replies: tc.replies}, "k", "tok")
			if !errors.Is(err, tc.want) || tc.want != redigolock.ErrUnknown && errors.Is(err, redigolock.ErrUnknown) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

func setNXVerified(ctx context.Context, c redis.Conn, key, token string) error {
	return redigolock.SetNXVerified(ctx, c, key, token, minute)
}

// A doOnlyConn is one such as RetryConn of mna/redisc: it has Do, and nothing else works.
type doOnlyConn struct{ redis.Conn }

var errNoSend = errors.New("redisc: unsupported call to Send")

func (doOnlyConn) Send(string, ...any) error { return errNoSend }

func TestConnectionThatTakesNoSend(t *testing.T) {
	addr := redistest.StartMini(t).Addr()
	for _, v := range allVerbs {
		s := newVerbSite(t, addr, false)
		v.prepare(s, "k", "tok")
		err := v.call(bg, doOnlyConn{s.dial()}, "k", "tok", minute)
		if len(v.commands) == 1 {
			if err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
			continue
		}
		wants(t, err, redigolock.ErrUnsupported, errNoSend)
		wantsNot(t, err, redigolock.ErrUnknown)
		if !strings.Contains(err.Error(), "Release") {
			t.Errorf("%s does not say what to use: %v", v.name, err)
		}
	}
	pool := &redis.Pool{Dial: func() (redis.Conn, error) {
		c, err := redis.Dial("tcp", addr)
		return doOnlyConn{c}, err
	}}
	defer pool.Close()
	_, err := (&redigolock.Locker{Pool: getPool{Pool: pool}}).Acquire(bg, "locker", minute)
	wants(t, err, redigolock.ErrUnsupported)
}

func TestMovedSaysWhatIsWrong(t *testing.T) {
	for _, text := range []string{"MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381"} {
		for _, v := range allVerbs {
			replies := []any{redis.Error(text), redis.Error(text), redis.Error(text), "OK"}
			err := v.call(bg, &scriptedConn{Replies: replies}, "k", "tok", minute)
			if err == nil || !strings.Contains(err.Error(), "Bind") || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v", v.name, err)
			}
		}
	}
}

// A hugeServer answers each command with the announcement of a bulk string of 2^63-1 bytes, at which redigo panics.
func hugeServer(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func(c net.Conn) {
		buf := make([]byte, 1<<16)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			_, _ = io.WriteString(c, "$9223372036854775807\r\n")
		}
	})
	return l.Addr().String()
}

// serve answers the connections of a listener, each on a goroutine and until answer returns, to the test's end.
func serve(t *testing.T, l net.Listener, answer func(net.Conn)) {
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				answer(c)
			})
		}
	})
}

func TestPanicOfTheReaderIsUnknown(t *testing.T) {
	addr := hugeServer(t)
	for _, v := range allVerbs {
		c := dialFor(t, addr)
		wantLostReply(t, v.name, v.call(bg, c, "k", "tok", minute), c)
	}
	m := &redigolock.Mux{Pool: &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr) }}}
	defer m.Close()
	for name, pool := range map[string]redigolock.Pool{"pool": m.Pool, "Mux": m} {
		l := &redigolock.Locker{Pool: pool, OpTimeout: 50 * time.Millisecond}
		_, err := l.TryAcquire(bg, "k", 100*time.Millisecond)
		wants(t, err, redigolock.ErrUnknown)
		if err := l.Close(); err != nil { // the clean-up meets it, too
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The goroutines of KeepAlive and of Fair's subscription survive it, too.
func TestPanicOfTheReaderInTheBackground(t *testing.T) {
	s := redistest.StartMini(t)
	proxy := redistest.NewProxy(t, s.Addr())
	for _, fair := range []bool{false, true} {
		proxy.Rule(nil)
		l := &redigolock.Locker{Pool: proxy.Pool(), Fair: fair, OpTimeout: 100 * time.Millisecond}
		k, err := l.Acquire(bg, "k", 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Reply("$9223372036854775807\r\n") })
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
			defer cancel()
			_, err := l.Acquire(ctx, "k", time.Second)
			wants(t, err, context.DeadlineExceeded)
		})
		kept := k.KeepAlive(bg)
		<-kept.Done()
		wants(t, context.Cause(kept), redigolock.ErrLost)
		wg.Wait()
		l.Close()
		s.FlushAll()
	}
}

// A panickyConn is a connection of the user's that panics.
type panickyConn struct {
	redis.Conn
	with any
}

func (c panickyConn) Do(string, ...any) (any, error) { panic(c.with) }
func (c panickyConn) Send(string, ...any) error      { panic(c.with) }
func (c panickyConn) Err() error                     { return nil }
func (c panickyConn) Close() error                   { return nil }
func (c panickyConn) DoWithTimeout(time.Duration, string, ...any) (any, error) {
	var list []int
	return list[3], nil // as the runtime's own
}
func (c panickyConn) ReceiveWithTimeout(time.Duration) (any, error) { panic(c.with) }

func TestPanicOfTheUsersConnectionPassesOn(t *testing.T) {
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	for _, ctx := range []context.Context{bg, ctx} {
		for _, v := range allVerbs {
			func() {
				defer func() {
					r := recover()
					_, isRuntime := r.(runtime.Error)
					if r != "mine" && !isRuntime {
						t.Errorf("%s: recovered %v", v.name, r)
					}
				}()
				err := v.call(ctx, panickyConn{with: "mine"}, "k", "tok", minute)
				t.Errorf("%s returned %v", v.name, err)
			}()
		}
	}
}

// A keepingConn records the argument slices themselves, as mocks and tracers do, and what was in them.
type keepingConn struct {
	redis.Conn
	mu     *sync.Mutex
	slices *[][]any
	copies *[][]any
}

func (c keepingConn) record(args []any) []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.slices = append(*c.slices, args)
	*c.copies = append(*c.copies, slices.Clone(args))
	return args
}

func (c keepingConn) Do(cmd string, args ...any) (any, error) {
	return c.Conn.Do(cmd, c.record(args)...)
}
func (c keepingConn) Send(cmd string, args ...any) error {
	return c.Conn.Send(cmd, c.record(args)...)
}
func (c keepingConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, cmd, c.record(args)...)
}
func (c keepingConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func TestRecordedArgumentsDoNotChange(t *testing.T) { inBubble(t, recordedArgumentsDoNotChange) }

func recordedArgumentsDoNotChange(t *testing.T, s *sim.Server) {
	base := simPool(t, s, "redis")
	var mu sync.Mutex
	var recorded, copies [][]any
	pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		c, err := base.DialContext(ctx)
		return keepingConn{c, &mu, &recorded, &copies}, err
	}}
	defer pool.Close()
	for _, l := range []*redigolock.Locker{
		{Pool: pool}, {Pool: pool, AcquireWith: redigolock.SetNXScript}, {Pool: pool, Fair: true},
		{Pool: pool, AcquireWith: redigolock.SetNX, ReleaseWith: redigolock.ReleaseTx},
		{Pool: pool, ReleaseWith: redigolock.ReleaseNative},
	} {
		for range 2 {
			k, err := l.Acquire(bg, "k", 500*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
			_, err = l.Acquire(ctx, "k", time.Second)
			wants(t, err, redigolock.ErrHeld)
			cancel()
			before := k.Deadline()
			k.KeepAlive(bg)
			eventually(t, "it is renewed", func() bool { return k.Deadline().After(before) })
			before = k.Deadline()
			if l.Fair || l.AcquireWith == nil {
				eventually(t, "it is renewed again", func() bool { return k.Deadline().After(before) })
			}
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	for i, args := range recorded {
		if !reflect.DeepEqual(args, copies[i]) {
			t.Errorf("command %d had the arguments %.100q, and now has %.100q", i, copies[i], args)
		}
	}
}

// Two locks of one Locker are renewed one after the other, and together: a slice that was used again would have the other's
// key, or another ttl.
func TestRecordedArgumentsOfRenewalsDoNotChange(t *testing.T) {
	for _, fair := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			var mu sync.Mutex
			var recorded, copies [][]any
			base := simPool(t, s, "redis")
			l := simLocker(t, &redigolock.Locker{Fair: fair, Pool: &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
				c, err := base.DialContext(ctx)
				return keepingConn{c, &mu, &recorded, &copies}, err
			}}})
			var kept []*redigolock.Lock
			for i, ttl := range []time.Duration{time.Second, time.Second, 3 * time.Second, 7 * time.Second} {
				k, err := l.TryAcquire(bg, fmt.Sprint("k", i), ttl)
				if err != nil {
					t.Fatal(err)
				}
				k.KeepAlive(bg)
				kept = append(kept, k)
			}
			time.Sleep(time.Minute)
			for _, k := range kept {
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			keys := map[string]bool{}
			for i, args := range recorded {
				if !reflect.DeepEqual(args, copies[i]) {
					t.Errorf("command %d had the arguments %.100q, and now has %.100q", i, copies[i], args)
				}
				keys[fmt.Sprint(copies[i])] = true
			}
			if len(recorded) < 60 || len(keys) < 8 {
				t.Errorf("%d commands, %d different ones: this test shows nothing", len(recorded), len(keys))
			}
		})
	}
}

// A tornConn is one whose first Send fails, and kills it. It may have written all of the command before, as one without a
// buffer has.
type tornConn struct {
	redis.Conn
	writes bool
	err    error
}

func (c *tornConn) Err() error { return c.err }

func (c *tornConn) Send(cmd string, args ...any) error {
	if c.writes {
		_, _ = c.Conn.Do(cmd, args...)
	}
	c.err = errors.New("torn")
	return c.err
}

// A Send that fails and kills the connection has an unknown outcome, for a connection may write at once; one that fails and
// leaves it alive is a refusal, and definite: TestConnectionThatTakesNoSend.
func TestSendThatKillsTheConnectionIsUnknown(t *testing.T) {
	for _, writes := range []bool{false, true} {
		for _, over := range []string{"pool", "Mux"} {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				base := simPool(t, s, "redis")
				var repaired atomic.Bool
				var pool redigolock.Pool = &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
					c, err := base.DialContext(ctx)
					if err != nil || repaired.Load() {
						return c, err
					}
					return &tornConn{Conn: c, writes: writes}, nil
				}}
				if over == "Mux" {
					m := &redigolock.Mux{Pool: pool}
					t.Cleanup(func() { m.Close() })
					pool = m
				}
				l := simLocker(t, &redigolock.Locker{Pool: pool})
				_, err := l.TryAcquire(bg, "key", time.Hour)
				wants(t, err, redigolock.ErrUnknown)
				wantsNot(t, err, redigolock.ErrUnsupported, redigolock.ErrUnavailable)
				if n, _ := s.Do("EXISTS", "key"); writes && n == int64(0) && l.Stats().Owed == 0 {
					t.Error("nothing was set: this test shows nothing")
				}
				repaired.Store(true)
				time.Sleep(time.Minute)
				if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
					t.Error("the key is left")
				}
			})
		}
	}
}

// A Mux whose connection panics has callers that it does not concern: each gets ErrUnknown, and the next has another connection.
func TestMuxSurvivesAPanicOfTheUsersConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		base := simPool(t, s, "redis")
		dials := 0
		m := &redigolock.Mux{Pool: &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
			c, err := base.DialContext(ctx)
			if dials++; err != nil || dials > 1 {
				return c, err
			}
			return panickySend{c}, nil
		}}}
		t.Cleanup(func() { m.Close() })
		c := m.Get()
		defer c.Close()
		err := redigolock.SetNX(bg, c, "key", "tok", time.Hour)
		wants(t, err, redigolock.ErrUnknown)
		if err == nil || !strings.Contains(err.Error(), "panicked: mine") {
			t.Errorf("%v does not say what panicked", err)
		}
		l := simLocker(t, &redigolock.Locker{Pool: m})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				k, err := l.TryAcquire(bg, fmt.Sprint("k", i), time.Hour)
				if err == nil {
					err = k.Release(bg)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

type panickySend struct{ redis.Conn }

func (panickySend) Send(string, ...any) error { panic("mine") }

func TestPTTLOfMoreThanADurationCanSay(t *testing.T) {
	for _, ms := range []int64{math.MaxInt64, math.MaxInt64 / 1_000_000, math.MaxInt64/1_000_000 + 1} {
		left, err := redigolock.Verify(bg, &scriptedConn{Replies: []any{ms}}, "k", "tok")
		if err != nil || left < 292*365*24*time.Hour {
			t.Errorf("Verify of %d ms: %v, %v", ms, left, err)
		}
		c := &scriptedConn{Replies: []any{[]any{[]byte("tok"), ms, int64(0)}}}
		info, err := redigolock.Inspect(bg, c, "k")
		if err != nil || !info.Held || info.TTL < 292*365*24*time.Hour {
			t.Errorf("Inspect of %d ms: %+v, %v", ms, info, err)
		}
		c = &scriptedConn{Replies: []any{[]any{[]byte("other"), ms}}}
		var held *redigolock.HeldError
		if err := redigolock.SetNXScript(bg, c, "k", "tok", minute); !errors.As(err, &held) || held.TTL < time.Hour {
			t.Errorf("SetNXScript of %d ms: %v", ms, err)
		}
	}
}

// With TLS 1.3 a server tells that it wants a certificate only when the first reply is awaited.
func TestServerThatWantsACertificateIsDefinite(t *testing.T) {
	cert := bareCertificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func(c net.Conn) {
		_ = c.(*tls.Conn).Handshake()
		_, _ = io.Copy(io.Discard, c.(*tls.Conn).NetConn()) // until the client closes: else its command would be answered by a reset
	})
	pool, err := redigolock.NewPool("rediss://"+l.Addr().String(), redis.DialTLSSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	m := &redigolock.Mux{Pool: pool}
	defer m.Close()
	for _, p := range []redigolock.Pool{pool, m} {
		ctx, cancel := context.WithTimeout(bg, 5*time.Second)
		defer cancel()
		_, err := (&redigolock.Locker{Pool: p}).Acquire(ctx, "k", minute)
		wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrUnavailable)
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v does not speak of the certificate", err)
		}
	}
	strict, err := redigolock.NewPool("rediss://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	_, err = (&redigolock.Locker{Pool: strict}).Acquire(bg, "k", minute)
	var bad *tls.CertificateVerificationError
	if !errors.As(err, &bad) {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
}

func bareCertificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestMuxReadsFromConnectionsWithoutTimeouts(t *testing.T) {
	addr := redistest.StartMini(t).Addr()
	m := &redigolock.Mux{Pool: &redis.Pool{Dial: func() (redis.Conn, error) {
		c, err := redis.Dial("tcp", addr)
		return struct{ redis.Conn }{c}, err
	}}}
	defer m.Close()
	l := &redigolock.Locker{Pool: m}
	defer l.Close()
	for range 2 {
		k, err := l.TryAcquire(bg, "k", minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
	}
}

// A foreignReply is a reply of an adapter that no server gives.
type foreignReply struct{}

// An acquire whose reply cannot be understood may have been carried out: it is ErrUnknown, too, and cleaned up.
func TestForeignReplyToAnAcquireIsCleanedUp(t *testing.T) {
	for _, tc := range []struct {
		name    string
		acquire redigolock.AcquireFunc
		fair    bool
		foreign []string
	}{
		{"SetNX", redigolock.SetNX, false, []string{"SET"}},
		{"SetNX in a func", testbed.WrappedAcquire, false, []string{"SET"}},
		{"default", nil, false, []string{"SET", "GET"}},
		{"SetNXGet", redigolock.SetNXGet, false, []string{"SET"}},
		{"SetNXVerified, SET and GET", redigolock.SetNXVerified, false, []string{"SET", "GET"}},
		{"SetNXVerified, GET", redigolock.SetNXVerified, false, []string{"GET"}},
		{"SetNXScript", redigolock.SetNXScript, false, []string{"EVALSHA", "EVAL"}},
		{"fair", nil, true, []string{"EVALSHA", "EVAL"}},
	} {
		for _, over := range []string{"pool", "Mux"} {
			for _, verb := range []string{"TryAcquire", "Acquire"} {
				t.Run(tc.name+"/"+over+"/"+verb, func(t *testing.T) {
					inBubble(t, func(t *testing.T, s *sim.Server) {
						base := simPool(t, s, "redis")
						var repaired atomic.Bool
						var pool redigolock.Pool = &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
							c, err := base.DialContext(ctx)
							if err != nil || repaired.Load() {
								return c, err
							}
							return &testbed.TurnedConn{Conn: c, Turn: func(cmd string, _ []any, reply any, err error) (any, error) {
								if err == nil && slices.Contains(tc.foreign, cmd) {
									reply = foreignReply{}
								}
								return reply, err
							}}, nil
						}}
						if over == "Mux" {
							m := &redigolock.Mux{Pool: pool}
							t.Cleanup(func() { m.Close() })
							pool = m
						}
						l := simLocker(t, &redigolock.Locker{Pool: pool, Fair: tc.fair, AcquireWith: tc.acquire, OpTimeout: time.Second})
						acquire := l.TryAcquire
						if verb == "Acquire" {
							acquire = l.Acquire
						}
						ctx, cancel := context.WithTimeout(bg, 20*time.Second)
						defer cancel()
						_, err := acquire(ctx, "key", time.Hour)
						wants(t, err, redigolock.ErrUnknown)
						wantsNot(t, err, context.DeadlineExceeded)
						if err == nil || !strings.Contains(err.Error(), "foreignReply") {
							t.Errorf("%v does not name the type", err)
						}
						repaired.Store(true) // of connections that are made from now on
						time.Sleep(time.Minute)
						if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
							t.Error("the key is left")
						}
					})
				})
			}
		}
	}
}
