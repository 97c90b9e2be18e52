package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/groupcommit"
	"github.com/redigolock/redigolock/internal/sim"
)

// TestMuxCallersReturnAtTheirBoundsWhileAWriteHangs has a server that does not read, and a first caller whose request is larger
// than what the network takes in. Its connections have no write timeouts.
func TestMuxCallersReturnAtTheirBoundsWhileAWriteHangs(t *testing.T) {
	const end = 5 * time.Second
	big := strings.Repeat("x", 3<<20)
	held, broken := bound{expect: end, reply: true}, bound{expect: 900 * ms}
	for name, c := range map[string]struct{ first, last, lastInBatch bound }{
		"of one without bounds": {held, held, held},
		"of a timed one":        {bound{limit: 900 * ms, expect: 900 * ms}, held, broken},
		"of a cancelled one":    {bound{ctx: 900 * ms, expect: 900 * ms}, held, held},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", in a batch: ", shared), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newMuxBubble(t, 0)
					var others, wg sync.WaitGroup
					filled := make(chan struct{})
					b.share(&others, filled)
					for i := 0; shared && i < groupcommit.MaxFlying-2; i++ {
						b.call(&others, fmt.Sprint("fill ", i), bound{})
					}
					goOn := b.server.Pause()
					time.AfterFunc(end, goOn)
					b.call(&others, "the server stands at it, and reads no more", bound{})
					calls := []*boundedCall{b.call(&wg, big, c.first)}
					last := c.last
					if shared {
						last = c.lastInBatch
					}
					for i, with := range []bound{{ctx: 100 * ms, expect: 100 * ms}, {limit: 300 * ms, expect: 300 * ms}, last} {
						calls = append(calls, b.call(&wg, fmt.Sprint("call ", i), with))
					}
					close(filled)
					wg.Wait()
					for _, x := range calls {
						x.text = strings.TrimRight(x.text, "x")
						x.got = strings.TrimRight(x.got, "x")
						x.check(t)
					}
					others.Wait()
					time.Sleep(2 * end)
					b.echo("at the end")
					if n := b.mux.Stats(); n != (redigolock.MuxStats{Conns: 1}) {
						t.Errorf("what is left: %+v", n)
					}
				})
			})
		}
	}
}

// TestMuxReplyAtWhichRedigoPanicsIsUnknownForAll has replies that announce a length at which redigo's reader panics.
func TestMuxReplyAtWhichRedigoPanicsIsUnknownForAll(t *testing.T) {
	for name, text := range map[string]string{
		"a bulk":     "$9223372036854775807\r\n",
		"an array":   "*9223372036854775807\r\n",
		"no number":  "$x\r\n",
		"no reply":   "hello\r\n",
		"in a batch": "+OK\r\n+OK\r\n+OK\r\n$9223372036854775807\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim.NewServer(t)
				var dials atomic.Int32
				m := newMux(t, &ownDialer{func(ctx context.Context) (redis.Conn, error) {
					if dials.Add(1) == 1 {
						return redis.NewConn(poisoned(text), 0, 0), nil
					}
					return s.DialRedis(ctx)
				}}, 0)
				var wg sync.WaitGroup
				var unknown atomic.Int32
				for i := range 6 {
					wg.Go(func() {
						err := redigolock.SetNX(bg, m.Get(), fmt.Sprint(i), "token", time.Minute)
						if errors.Is(err, redigolock.ErrUnknown) {
							unknown.Add(1)
						} else if err != nil {
							t.Error(i, err)
						}
					})
				}
				wg.Wait()
				if unknown.Load() == 0 {
					t.Error("none is unknown")
				}
				if got, err := redis.String(m.Get().Do("ECHO", "x")); got != "x" || dials.Load() != 2 {
					t.Errorf("%q, %v, and %d dials", got, err, dials.Load())
				}
			})
		})
	}
}

// poisoned is a connection that answers the first write with text.
func poisoned(text string) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		if _, err := server.Read(make([]byte, 4096)); err != nil {
			return
		}
		go io.WriteString(server, text)
		_, _ = io.Copy(io.Discard, server)
	}()
	return client
}

// TestMuxPanicOfAUsersFuncIsItsCallersAndWedgesNothing has a pool whose funcs panic, or end their goroutine.
func TestMuxPanicOfAUsersFuncIsItsCallersAndWedgesNothing(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("of the user's") }, "Goexit": runtime.Goexit} {
		for _, where := range []string{"dial", "test"} {
			t.Run(name+" in a "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := sim.NewServer(t)
					pool := s.Pool()
					var bad atomic.Bool
					dial := pool.DialContext
					pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
						time.Sleep(ms)
						if bad.Load() && where == "dial" {
							end()
						}
						return dial(ctx)
					}
					pool.TestOnBorrow = func(redis.Conn, time.Time) error {
						time.Sleep(ms)
						if bad.Load() && where == "test" {
							end()
						}
						return nil
					}
					m := newMux(t, pool, 0)
					if where == "test" {
						_, err := m.Get().Do("ECHO", "warm")
						if err != nil {
							t.Error(err)
						}
						time.Sleep(time.Minute)
					}
					bad.Store(true)
					var panics, failures atomic.Int32
					var wg sync.WaitGroup
					for range 3 {
						wg.Go(func() {
							defer func() {
								if p := recover(); p != nil {
									panics.Add(1)
								}
							}()
							if _, err := m.Get().Do("ECHO", "x"); err != nil {
								failures.Add(1)
								wantsNot(t, err, redigolock.ErrUnknown)
							}
						})
					}
					wg.Wait()
					want := [2]int32{1, 2}
					if name == "Goexit" {
						want = [2]int32{0, 3}
					}
					if got := [2]int32{panics.Load(), failures.Load()}; got != want {
						t.Errorf("%d panics and %d failures, want %d", got[0], got[1], want)
					}
					bad.Store(false)
					if got, err := redis.String(m.Get().Do("ECHO", "x")); got != "x" {
						t.Error(got, err)
					}
					if n := m.Stats(); n.Conns != 1 || s.Conns() != 1 {
						t.Errorf("%+v, and %d connections", n, s.Conns())
					}
				})
			})
		}
	}
}

func TestMuxCloseDuringADial(t *testing.T) {
	for name, hang := range map[string]func(*sim.Server){
		"that hangs":              func(s *sim.Server) { s.HangDials() },
		"that brings one, though": func(*sim.Server) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim.NewServer(t)
				hang(s)
				m := newMux(t, &ownDialer{func(ctx context.Context) (redis.Conn, error) {
					if name != "that hangs" {
						time.Sleep(time.Second) // whatever ctx says
						ctx = bg
					}
					return s.DialRedis(ctx)
				}}, 0)
				l := &redigolock.Locker{Pool: m}
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						begin := time.Now()
						_, err := l.TryAcquire(bg, "key", time.Minute)
						wants(t, err, redigolock.ErrClosed)
						if took := time.Since(begin); took != 100*ms {
							t.Errorf("it took %v", took)
						}
					})
				}
				time.Sleep(100 * ms)
				if n := m.Stats(); n != (redigolock.MuxStats{Queued: 3}) {
					t.Errorf("%+v", n)
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				wg.Wait()
				time.Sleep(2 * time.Second)
				if n := m.Stats(); n != (redigolock.MuxStats{}) || s.Conns() != 0 {
					t.Errorf("%+v, and %d connections", n, s.Conns())
				}
			})
		})
	}
}

// TestMuxDialsFewAfterABreak has a crowd that asks again and again, on a server that takes long to accept a connection, and
// breaks all of them now and then.
func TestMuxDialsFewAfterABreak(t *testing.T) {
	for _, c := range []struct{ conns, atOnce int }{{1, 1}, {4, 4}, {64, 8}} {
		t.Run(fmt.Sprint("conns=", c.conns), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim.NewServer(t)
				s.SlowDials(100 * ms)
				s.Delay(ms)
				var dialling, most atomic.Int32
				pool := s.Pool()
				pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
					n := dialling.Add(1)
					defer dialling.Add(-1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					return s.DialRedis(ctx)
				}
				m := newMux(t, pool, c.conns)
				end := time.Now().Add(2 * time.Second)
				var wg sync.WaitGroup
				var answered, unknown atomic.Int32
				for range 250 {
					wg.Go(func() {
						for time.Now().Before(end) {
							if _, err := redis.DoWithTimeout(m.Get(), time.Second, "ECHO", "x"); err == nil {
								answered.Add(1)
							} else {
								unknown.Add(1)
							}
							time.Sleep(50 * ms)
						}
					})
				}
				breaks := 0
				for ; time.Now().Before(end); breaks++ {
					time.Sleep(400 * ms)
					s.Cut()
				}
				wg.Wait()
				if n := most.Load(); int(n) != c.atOnce {
					t.Errorf("%d dials at once, want %d", n, c.atOnce)
				}
				if n := s.Dials(); n > (breaks+1)*c.conns {
					t.Errorf("%d dials for %d breaks of %d connections", n, breaks, c.conns)
				}
				if answered.Load() < 2000 || unknown.Load() > int32(250*breaks) {
					t.Errorf("%d were answered, %d not", answered.Load(), unknown.Load())
				}
			})
		})
	}
}

// TestMuxLanesThatDiedWhileIdleCostOneCallOnly has connections whose peer closed them, or vanished, while they were idle.
func TestMuxLanesThatDiedWhileIdleCostOneCallOnly(t *testing.T) {
	for name, die := range map[string]func(*sim.Server){
		"closed": func(s *sim.Server) { s.CloseConns() }, "cut": func(s *sim.Server) { s.Cut() }, "half-open": func(s *sim.Server) { s.HalfOpen() },
	} {
		for _, idle := range []time.Duration{5 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(name, " after ", idle), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const lanes = 4
					b := newMuxBubble(t, lanes)
					var wg sync.WaitGroup
					release := make(chan struct{})
					b.server.Rule(func(sim.Request) sim.Action { return sim.Hold(release) })
					for i := range lanes {
						b.call(&wg, fmt.Sprint(i), bound{})
					}
					close(release)
					wg.Wait()
					b.server.Rule(nil)
					if n := b.mux.Stats(); n.Conns != lanes {
						t.Fatalf("%+v", n)
					}
					time.Sleep(idle)
					die(b.server)
					failed := 0
					for i := range 2 * lanes {
						begin := time.Now()
						if _, err := redis.DoWithTimeout(b.mux.Get(), time.Second, "ECHO", fmt.Sprint(i)); err != nil {
							failed++
						}
						if took := time.Since(begin); took > time.Second {
							t.Errorf("it took %v", took)
						}
					}
					want := 1
					if idle > 10*time.Second {
						want = 0 // it is tested before
					}
					if failed != want {
						t.Errorf("%d calls failed, want %d", failed, want)
					}
				})
			})
		}
	}
}

// A recordingConn keeps the arguments that it was given.
type recordingConn struct {
	redis.Conn
	all *[][]any
}

func (c recordingConn) Send(cmd string, args ...any) error {
	*c.all = append(*c.all, args)
	return c.Conn.Send(cmd, args...)
}

func TestMuxConnectionMayKeepTheArgumentsItWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sim.NewServer(t)
		var all [][]any
		m := newMux(t, &ownDialer{func(ctx context.Context) (redis.Conn, error) {
			c, err := s.DialRedis(ctx)
			return recordingConn{c, &all}, err
		}}, 0)
		text := []byte("text 0")
		args := []any{text}
		for i := range 10 {
			text[5] = byte('0' + i)
			if _, err := m.Get().Do("ECHO", args...); err != nil {
				t.Error(err)
			}
		}
		for i, args := range all {
			if got := fmt.Sprintf("%s", args); got != fmt.Sprintf("[text %d]", i) {
				t.Errorf("number %d has become %s", i, got)
			}
		}
	})
}

// TestTwoBubblesInOneProcess has what is used in one bubble used by another: nothing that belongs to a bubble may be the
// package's.
func TestTwoBubblesInOneProcess(t *testing.T) {
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			s := sim.NewServer(t)
			for _, l := range []*redigolock.Locker{
				{Pool: s.Pool()}, {Pool: newMux(t, s.Pool(), 2)}, {Pool: s.Pool(), Fair: true}, {Pool: newMux(t, s.Pool(), 0), Fair: true},
			} {
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(bg, time.Minute)
						defer cancel()
						err := l.Do(ctx, "key", time.Second, func(ctx context.Context, k *redigolock.Lock) error {
							time.Sleep(2 * time.Second) // it must be renewed
							return ctx.Err()
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
			s.Pause()
			short, cancel := context.WithTimeout(bg, 100*ms)
			defer cancel()
			l := &redigolock.Locker{Pool: newMux(t, s.Pool(), 0)}
			_, err := l.TryAcquire(short, "key", time.Second)
			wants(t, err, context.DeadlineExceeded)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
