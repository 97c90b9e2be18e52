package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/sim"
)

var bg = context.Background()

// bubble runs f in a bubble with a server.
func bubble(t *testing.T, f func(t *testing.T, s *sim.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, sim.NewServer(t)) })
}

// took checks how much of the bubble's time f takes, exactly.
func took(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d != want {
		t.Errorf("%s took %v, want %v", what, d, want)
	}
}

func dial(t *testing.T, l *sim.Link, opts ...redis.DialOption) redis.Conn {
	t.Helper()
	c, err := l.DialRedis(bg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func must(t *testing.T) func(any, error) any {
	return func(v any, err error) any {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestTTLRunsByTheBubblesClock(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		must(t)(c.Do("SET", "key", "v", "PX", 250))
		time.Sleep(249 * time.Millisecond)
		if n, _ := redis.Int(c.Do("PTTL", "key")); n != 1 {
			t.Errorf("PTTL is %d, want 1", n)
		}
		time.Sleep(time.Millisecond)
		if n, _ := redis.Int(c.Do("EXISTS", "key")); n != 0 {
			t.Error("the key outlived its ttl")
		}
	})
}

func TestAPipelineFitsIntoTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		const n = 2000
		for i := range n {
			c.Send("SET", fmt.Sprint("key", i), strings.Repeat("x", 40))
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for range n {
			must(t)(c.Receive())
		}
		if got := s.Count("set"); got != n {
			t.Errorf("%d commands came, want %d", got, n)
		}
	})
}

func TestReadAndWriteDeadlinesEndAWait(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		nc, err := s.Dial(bg)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetReadDeadline(time.Now().Add(time.Second))
		took(t, "a read", time.Second, func() { _, err = nc.Read(make([]byte, 1)) })
		if !errors.Is(err, os.ErrDeadlineExceeded) || !err.(net.Error).Timeout() {
			t.Errorf("a read past its deadline: %v", err)
		}
		s.Pause() // a server that stands still does not read
		nc.Write([]byte("*1\r\n$4\r\nPING\r\n"))
		nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
		took(t, "a write", 2*time.Second, func() { _, err = nc.Write(make([]byte, 4<<20)) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write past its deadline: %v", err)
		}
		nc.SetDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { nc.SetReadDeadline(time.Now()) }) // as the net package has it, a wait ends by a new deadline
		took(t, "a read", time.Second, func() { _, err = nc.Read(make([]byte, 1)) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read with a changed deadline: %v", err)
		}
	})
}

func TestDelayIsEachWay(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		s.Delay(30 * time.Millisecond)
		took(t, "a round trip", 60*time.Millisecond, func() { must(t)(c.Do("PING")) })
		took(t, "a pipeline", 60*time.Millisecond, func() {
			for range 10 {
				c.Send("PING")
			}
			must(t)(c.Do(""))
		})
		s.Delay(time.Hour)
		c.Close() // the delay ends with the connection
	})
}

func TestDials(t *testing.T) {
	tests := []struct {
		name  string
		fault func(s *sim.Server)
		ctx   time.Duration
		took  time.Duration
		err   error
	}{
		{"refused", func(s *sim.Server) { s.RefuseDials() }, 0, 0, syscall.ECONNREFUSED},
		{"hangs until its timeout", func(s *sim.Server) { s.HangDials() }, 0, 2 * time.Second, os.ErrDeadlineExceeded},
		{"hangs until its context", func(s *sim.Server) { s.HangDials() }, 100 * time.Millisecond, 100 * time.Millisecond, context.DeadlineExceeded},
		{"hangs for a while", func(s *sim.Server) { time.AfterFunc(time.Second, s.HangDials()) }, 0, time.Second, nil},
		{"black hole", func(s *sim.Server) { s.BlackHole() }, 0, 2 * time.Second, os.ErrDeadlineExceeded},
		{"slow", func(s *sim.Server) { s.SlowDials(300 * time.Millisecond) }, 0, 300 * time.Millisecond, nil},
		{"slow and left", func(s *sim.Server) { s.SlowDials(300 * time.Millisecond) }, 100 * time.Millisecond, 100 * time.Millisecond, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *sim.Server) {
				ctx := bg
				if tt.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(bg, tt.ctx)
					defer cancel()
				}
				tt.fault(s)
				took(t, "the dial", tt.took, func() {
					c, err := s.DialRedis(ctx)
					if !errors.Is(err, tt.err) {
						t.Errorf("the error is %v, want %v", err, tt.err)
					}
					if err == nil {
						c.Close()
					}
				})
				if n := s.Conns(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

func TestTLSHandshakeHangs(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		secure := []redis.DialOption{redis.DialUseTLS(true), redis.DialTLSHandshakeTimeout(2 * time.Second)}
		c := dial(t, s.Link, secure...)
		must(t)(c.Do("SET", "key", "v"))
		goOn := s.HangHandshakes()
		took(t, "a handshake that hangs", 2*time.Second, func() {
			if _, err := s.DialRedis(bg, secure...); err == nil || !strings.Contains(err.Error(), "handshake timeout") {
				t.Errorf("the error is %v", err)
			}
		})
		must(t)(c.Do("GET", "key"))
		plain := dial(t, s.Link)
		must(t)(plain.Do("PING"))
		time.AfterFunc(time.Second, goOn)
		took(t, "a handshake that goes on", time.Second, func() { must(t)(dial(t, s.Link, secure...).Do("PING")) })
	})
}

// TestActions tells what the client sees of each, and what the server carries out.
func TestActions(t *testing.T) {
	never := make(chan struct{})
	tests := []struct {
		name    string
		action  sim.Action
		took    time.Duration
		err     error // nil: the reply comes
		carried bool
	}{
		{"pass", sim.Pass(), 0, nil, true},
		{"cut", sim.Cut(), 0, syscall.ECONNRESET, false},
		{"drop", sim.Drop(), 0, syscall.ECONNRESET, true},
		{"truncate", sim.Truncate(2), 0, io.EOF, true},
		{"lose", sim.Lose(), 3 * time.Second, os.ErrDeadlineExceeded, false},
		{"swallow", sim.Swallow(), 3 * time.Second, os.ErrDeadlineExceeded, true},
		{"stop", sim.Stop(2), 3 * time.Second, os.ErrDeadlineExceeded, true},
		{"late", sim.Late(time.Second), time.Second, nil, true},
		{"late for ever", sim.LateUntil(never), 3 * time.Second, os.ErrDeadlineExceeded, false},
		{"slow", sim.Slow(time.Second), time.Second, nil, true},
		{"hold", sim.Hold(nil), 3 * time.Second, os.ErrDeadlineExceeded, true},
		{"trickle", sim.Trickle(100 * time.Millisecond), 400 * time.Millisecond, nil, true}, // +OK\r\n
		{"answer", sim.Answer("-BUSY wait\r\n"), 0, redis.Error("BUSY wait"), false},
		{"refuse", sim.Refuse("LOADING wait"), 0, redis.Error("LOADING wait"), false},
		{"refuse and end", sim.RefuseAndEnd("ERR max number of clients reached"), 0, redis.Error("ERR max number of clients reached"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim.NewServer(t)
				if tt.name == "late for ever" {
					never := make(chan struct{})
					tt.action = sim.LateUntil(never)
				}
				c := dial(t, s.Link)
				must(t)(c.Do("PING"))
				s.Next("set", tt.action)
				took(t, "the command", tt.took, func() {
					if _, err := c.Do("SET", "key", "v"); !errors.Is(err, tt.err) {
						t.Errorf("the error is %v, want %v", err, tt.err)
					}
				})
				synctest.Wait()
				value, _ := redis.String(s.Do("GET", "key"))
				if carried := value == "v"; carried != tt.carried {
					t.Errorf("carried out: %v, want %v", carried, tt.carried)
				}
				if c.Err() == nil && tt.err == nil {
					must(t)(c.Do("PING"))
				}
			})
		})
	}
}

func TestALateCommandIsCarriedOutWithoutItsCaller(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		s.Next("set", sim.Late(10*time.Second))
		if _, err := redis.DoWithTimeout(c, time.Second, "SET", "key", "v"); err == nil {
			t.Fatal("a late command was answered in time")
		}
		if c.Err() == nil || s.Conns() != 0 {
			t.Fatal("the connection is still open")
		}
		time.Sleep(9*time.Second - 1)
		if v, _ := s.Do("EXISTS", "key"); v != int64(0) {
			t.Error("it was carried out before its time")
		}
		time.Sleep(2 * time.Nanosecond)
		if v, _ := s.Do("EXISTS", "key"); v != int64(1) {
			t.Error("it was not carried out")
		}
	})
}

func TestAPausedServerCarriesOutInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		goOn := s.Pause()
		for i := range 5 {
			c := dial(t, s.Link)
			c.Send("RPUSH", "list", fmt.Sprint(i, "a"))
			c.Send("RPUSH", "list", fmt.Sprint(i, "b"))
			c.Flush()
			synctest.Wait()
			if i%2 == 0 {
				c.Close() // its commands are carried out all the same
			}
		}
		time.Sleep(time.Minute)
		if n, _ := redis.Int(s.Do("LLEN", "list")); n != 0 {
			t.Fatalf("a paused server carried out %d commands", n)
		}
		goOn()
		got, err := redis.Strings(s.Do("LRANGE", "list", 0, -1))
		if want := []string{"0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("the order is %v, want %v (%v)", got, want, err)
		}
		must(t)(dial(t, s.Link).Do("PING"))
	})
}

func TestCutBlackHoleHalfOpen(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		must(t)(c.Do("PING"))
		s.Cut()
		if _, err := c.Do("PING"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a cut: %v", err)
		}

		c = dial(t, s.Link)
		must(t)(c.Do("PING"))
		time.AfterFunc(time.Second, s.BlackHole())
		took(t, "a black hole that heals", time.Second, func() { must(t)(c.Do("SET", "key", "v")) })
		time.AfterFunc(time.Second, s.BlackHole(sim.ToClient))
		took(t, "a black hole to the client", time.Second, func() { must(t)(c.Do("APPEND", "key", "w")) })

		s.HalfOpen()
		took(t, "a half-open connection", 3*time.Second, func() {
			if _, err := c.Do("SET", "key", "lost"); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("half-open: %v", err)
			}
		})
		if v, _ := redis.String(dial(t, s.Link).Do("GET", "key")); v != "vw" {
			t.Errorf("the key is %q", v)
		}
	})
}

func TestCloseConns(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		must(t)(c.Do("PING"))
		s.CloseConns()
		if _, err := c.Do("PING"); err == nil {
			t.Error("a connection that the server closed answers")
		}
		if s.Conns() != 0 {
			t.Error("redigo has not closed it")
		}
	})
}

func TestPublishedMessagesComeToTheSubscriber(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		sub := redis.PubSubConn{Conn: dial(t, s.Link)}
		if err := sub.Subscribe("ch"); err != nil {
			t.Fatal(err)
		}
		if _, ok := sub.Receive().(redis.Subscription); !ok {
			t.Fatal("not subscribed")
		}
		c := dial(t, s.Link)
		if n := must(t)(c.Do("PUBLISH", "ch", "hello")); n != int64(1) {
			t.Errorf("%v receivers", n)
		}
		if m, ok := sub.ReceiveWithTimeout(time.Second).(redis.Message); !ok || string(m.Data) != "hello" {
			t.Errorf("the message is %v", m)
		}
		took(t, "a receive without a message", time.Second, func() { sub.ReceiveWithTimeout(time.Second) })
		sub.Close()
		synctest.Wait()
		if n := must(t)(c.Do("PUBLISH", "ch", "hello")); n != int64(0) {
			t.Errorf("%v receivers, although it has gone", n)
		}
	})
}

func TestScriptsAreNamed(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		script := redis.NewScript(1, "return redis.call('GET', KEYS[1])")
		s.NameScripts(map[string]string{script.Hash(): "read"})
		c := dial(t, s.Link)
		_, err := script.Do(c, "key")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Count("read"); got != 2 { // EVALSHA, then EVAL
			t.Errorf("%d commands are named, want 2: %v", got, s.Requests())
		}
	})
}

func TestTheEndOfTheTestEndsAll(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		other := s.NewLink("other")
		ready := dial(t, s.Link)
		must(t)(ready.Do("PING"))
		var wg sync.WaitGroup
		for _, hang := range []func(){
			func() { s.DialRedis(bg) },
			func() { other.DialRedis(bg, redis.DialUseTLS(true), redis.DialTLSHandshakeTimeout(0)) },
			func() { ready.Do("SET", "key", "v") },
		} {
			wg.Go(hang)
		}
		s.Next("set", sim.Late(time.Hour))
		s.HangDials()
		other.HangHandshakes()
		time.Sleep(time.Millisecond)
		s.Close()
		wg.Wait()
	})
}

func TestPoolIsAPool(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		p := s.Pool()
		for range 3 {
			c := p.Get()
			must(t)(c.Do("PING"))
			c.Close()
		}
		if n := s.Dials(); n != 1 {
			t.Errorf("%d dials, want 1", n)
		}
	})
}
