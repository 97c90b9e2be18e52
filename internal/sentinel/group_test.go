package sentinel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/sentinel"
)

var bg = context.Background()

// dialed checks where a dial leads, and closes the connection with the test.
func dialed(t *testing.T, g *sentinel.Group, want string) redis.Conn {
	t.Helper()
	c, err := g.Dial(bg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if got := c.(*sentinel.Conn).Conn.(*conn).addr; got != want {
		t.Fatalf("the dial leads to %s, want %s", got, want)
	}
	return c
}

// took checks how much of the bubble's time f takes.
func took(t *testing.T, least, most time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d < least || d > most {
		t.Errorf("it took %v, want %v to %v", d, least, most)
	}
}

func without(addr string) []string {
	return slices.DeleteFunc(slices.Clone(sentinels), func(a string) bool { return a == addr })
}

// FZambia/sentinel asks A, C, C when only B lives.
func TestOneSentinelLives(t *testing.T) {
	for what, fault := range map[string]func(*server){"the others are down": down, "the others hang": hang} {
		for _, alive := range sentinels {
			t.Run(what+" but "+alive, func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					w.set(fault, without(alive)...)
					took(t, 0, 60*time.Millisecond, func() { dialed(t, w.group(false), "a:6379") })
				})
			})
		}
	}
}

func TestNoSentinelLives(t *testing.T) {
	for what, fault := range map[string]func(*server){"down": down, "hang": hang} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.set(fault, sentinels...)
				took(t, 0, 2*time.Second, func() {
					_, err := w.group(false).Dial(bg)
					if err == nil || strings.Contains(err.Error(), "\n") || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the dial ends with %v", err)
					}
					for _, addr := range sentinels {
						if what == "down" && !strings.Contains(err.Error(), addr+": connection refused") {
							t.Errorf("%v does not say what was wrong with %s", err, addr)
						}
					}
				})
			})
		})
	}
}

// While none answers, connections that exist go on.
func TestConnectionsOutliveTheSentinels(t *testing.T) {
	for what, fault := range map[string]func(*server){"down": down, "hang": hang} {
		inBubble(t, func(t *testing.T, w *world) {
			c := dialed(t, w.group(true), "a:6379")
			w.set(fault, sentinels...)
			time.Sleep(time.Minute)
			if _, err := c.Do("SET"); err != nil || sentinel.Current(c) != nil {
				t.Errorf("%s: %v, %v", what, err, sentinel.Current(c))
			}
			w.promote("b", 1, sentinels...)
			w.set(up, sentinels...)
			time.Sleep(6 * time.Second) // a pause of a second, and a question
			if sentinel.Current(c) == nil {
				t.Errorf("%s: when they came back, the switch was missed", what)
			}
		})
	}
}

func TestAnswerBeforeThePromotion(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(tells("b 6379", 1), sentinels...)
		time.AfterFunc(300*time.Millisecond, func() { w.set(plays("master"), "b:6379") })
		took(t, 300*time.Millisecond, 500*time.Millisecond, func() { dialed(t, w.group(false), "b:6379") })
		if n := w.count(func(s *server) int { return len(s.conns) }, "b:6379"); n != 1 {
			t.Errorf("%d connections are open, want 1", n)
		}
	})
}

func TestPromotionThatNeverComes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(tells("b 6379", 1), sentinels...)
		g := w.group(false)
		took(t, time.Second, 1300*time.Millisecond, func() {
			if _, err := g.Dial(bg); err == nil || !strings.Contains(err.Error(), "b:6379") {
				t.Errorf("the dial ends with %v", err)
			}
		})
		took(t, 200*time.Millisecond, 200*time.Millisecond, func() {
			ctx, cancel := context.WithTimeout(bg, 200*time.Millisecond)
			defer cancel()
			if _, err := g.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no master") {
				t.Errorf("the dial ends with %v", err)
			}
		})
	})
}

func TestSentinelsDisagree(t *testing.T) {
	for _, knows := range sentinels {
		inBubble(t, func(t *testing.T, w *world) {
			w.set(plays("master"), "b:6379")
			w.set(tells("b 6379", 7), knows)
			w.set(tells("a 6379", 6), without(knows)...)
			dialed(t, w.group(false), "b:6379")
		})
	}
}

// A Sentinel that was cut off names the old master, which may be cut off with it.
func TestFewSentinelsThatKnowLess(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := w.group(false)
		w.promote("b", 2, "s1:26379", "s2:26379")
		dialed(t, g, "b:6379")
		w.set(down, "s1:26379", "s2:26379")
		if c, err := g.Dial(bg); err == nil || !strings.Contains(err.Error(), "older") {
			t.Errorf("a dial to the old master: %v, %v", c, err)
		}
		w.set(up, sentinels...)
		w.set(tells("a 6379", 0), sentinels...) // they were set up again
		dialed(t, g, "a:6379")
	})
}

func TestHungDialEndsWhenAnotherIsNamed(t *testing.T) {
	for _, watch := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			g := w.group(watch)
			if watch { // somebody must have a connection for the subscription to live
				dialed(t, g, "a:6379")
				synctest.Wait()
			}
			w.set(hang, "a:6379")
			time.AfterFunc(1200*time.Millisecond, func() { w.promote("b", 1, sentinels...) })
			most := 1200 * time.Millisecond
			if !watch {
				most = 1500 * time.Millisecond // it asks again every 500 ms
			}
			took(t, 1200*time.Millisecond, most, func() { dialed(t, g, "b:6379") })
		})
	}
}

func TestHungMasterEndsWithTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(hang, "a:6379")
		ctx, cancel := context.WithTimeout(bg, 700*time.Millisecond)
		defer cancel()
		took(t, 700*time.Millisecond, 700*time.Millisecond, func() {
			if _, err := w.group(true).Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	})
}

// A user's Dial may take no notice of its context.
func TestDialThatIgnoresItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		end := make(chan struct{})
		ignores := func(context.Context, string) (redis.Conn, error) {
			<-end
			return w.dial(bg, "a:6379")
		}
		g := sentinel.New(sentinel.Env{Addrs: sentinels, Master: "locks", Dial: ignores, DialSentinel: w.dial})
		for range 80 {
			ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
			took(t, 0, 100*time.Millisecond, func() {
				if _, err := g.Dial(ctx); err == nil {
					t.Error("it dialled")
				}
			})
			cancel()
		}
		close(end)
		synctest.Wait()
		if n := w.count(func(s *server) int { return len(s.conns) }, "a:6379"); n != 0 || w.dials != 64 {
			t.Errorf("of %d late connections %d are open, want none of 64", w.dials, n)
		}
		g.Close()
	})
}

// Dials to a master, or a Sentinel, that hangs in a handshake of which no context is the end keep nobody from another.
func TestHungDialsKeepNobodyFromAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		end := make(chan struct{})
		dial := func(ctx context.Context, addr string) (redis.Conn, error) {
			if addr == "a:6379" || addr == "s1:26379" {
				<-end
			}
			return w.dial(ctx, addr)
		}
		g := sentinel.New(sentinel.Env{Addrs: sentinels, Master: "locks", Dial: dial, DialSentinel: dial})
		defer g.Close()
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				c, err := g.Dial(bg)
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			})
		}
		time.Sleep(10 * time.Second)
		w.promote("b", 1, sentinels...)
		took(t, 0, time.Second, callers.Wait)
		close(end)
	})
}

func TestPanicReachesItsCaller(t *testing.T) {
	for _, where := range []string{"master", "sentinel"} {
		inBubble(t, func(t *testing.T, w *world) {
			panics := func(context.Context, string) (redis.Conn, error) { panic("the user's own") }
			env := sentinel.Env{Addrs: sentinels, Master: "locks", Dial: w.dial, DialSentinel: w.dial}
			if where == "master" {
				env.Dial = panics
			} else {
				env.DialSentinel = panics
			}
			g := sentinel.New(env)
			for range 2 { // nothing stays locked
				func() {
					defer func() {
						if p := recover(); p != "the user's own" {
							t.Errorf("%s: recovered %v", where, p)
						}
					}()
					_, _ = g.Dial(bg)
				}()
			}
			g.Close()
		})
	}
}

func TestWrongPassword(t *testing.T) {
	wrong := func(s *server) { s.refuse = "WRONGPASS invalid username-password pair" }
	for what, addrs := range map[string][]string{"of the Sentinels": sentinels, "of the master": {"a:6379"}} {
		inBubble(t, func(t *testing.T, w *world) {
			w.set(wrong, addrs...)
			took(t, 0, 0, func() {
				_, err := w.group(false).Dial(bg)
				var re redis.Error
				if !errors.As(err, &re) || !strings.HasPrefix(string(re), "WRONGPASS") || !strings.Contains(err.Error(), addrs[0]) {
					t.Errorf("%s: %v", what, err)
				}
			})
		})
	}
}

// What one Sentinel refuses for good does not end a wait while another may come back.
func TestWrongPasswordOfOneSentinel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func(s *server) { s.refuse = "WRONGPASS invalid username-password pair" }, "s1:26379")
		dialed(t, w.group(false), "a:6379")
		w.set(down, "s2:26379", "s3:26379")
		_, err := w.group(false).Dial(bg)
		var re redis.Error
		if err == nil || errors.As(err, &re) || !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%v does not wrap what may pass, or does not name the other", err)
		}
	})
}

func TestUnknownMasterName(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(tells("", 0), sentinels...)
		_, err := w.group(false).Dial(bg)
		if err = fault.NoConnection(bg, "acquire", "k", err); errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "No such master") {
			t.Errorf("%v: to wait for that would be in vain", err)
		}
		w.set(down, "s2:26379")
		_, err = w.group(false).Dial(bg)
		if err = fault.NoConnection(bg, "acquire", "k", err); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "s2:26379: ") {
			t.Errorf("%v, though one Sentinel is down, and may know better", err)
		}
	})
}

func TestIPv6(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.servers["[fd00::1]:6379"] = w.servers["a:6379"]
		w.set(tells("fd00::1 6379", 0), sentinels...)
		dialed(t, w.group(false), "[fd00::1]:6379")
	})
}

// A master that comes back as a replica lives, and only its answers tell.
func TestMasterThatComesBackAsReplica(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := w.group(false)
		c, idle := dialed(t, g, "a:6379"), dialed(t, g, "a:6379")
		w.set(plays("slave"), "a:6379")
		w.promote("b", 1, sentinels...)
		if _, err := c.Do("GET"); err != nil || sentinel.Current(idle) != nil || g.Epoch() != 0 {
			t.Errorf("before a write: %v, %v, epoch %d", err, sentinel.Current(idle), g.Epoch())
		}
		if _, err := c.Do("SET"); err == nil {
			t.Error("a replica has taken a write")
		}
		if sentinel.Current(c) == nil || sentinel.Current(idle) == nil || g.Epoch() == 0 {
			t.Errorf("after READONLY: %v, %v, epoch %d", sentinel.Current(c), sentinel.Current(idle), g.Epoch())
		}
		fresh := dialed(t, g, "b:6379")
		if err := sentinel.Current(fresh); err != nil {
			t.Error(err)
		}
		if idle.Err() == nil {
			t.Error("a connection of before was not cut")
		}
	})
}

// Where the user may not ask for the role, what the Sentinels say is believed.
func TestNoRightToRole(t *testing.T) {
	for _, refusal := range []redis.Error{"NOPERM User app has no permissions to run the 'role' command", "ERR unknown command 'ROLE'"} {
		inBubble(t, func(t *testing.T, w *world) {
			w.set(func(s *server) { s.refuse = refusal }, "a:6379")
			g := w.group(false)
			c := dialed(t, g, "a:6379")
			time.Sleep(2 * time.Second)
			if err := g.TestRole(bg, c); err != nil {
				t.Errorf("%s: a borrow: %v", refusal, err)
			}
		})
	}
}

// Without a subscription a borrow asks for the role, once a second.
func TestRoleAtBorrow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := w.group(false)
		c := dialed(t, g, "a:6379")
		asked := func() int { return w.count(func(s *server) int { return s.asked }, "a:6379") }
		before := asked()
		for range 40 {
			if err := g.TestRole(bg, c); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := asked() - before; n != 4 {
			t.Errorf("asked %d times in 4 s, want 4", n)
		}
		w.set(plays("slave"), "a:6379")
		w.promote("b", 1, sentinels...)
		if err := g.TestRole(bg, c); err == nil {
			t.Error("a replica was lent")
		}
		if sentinel.Current(c) == nil {
			t.Error("nobody else knows")
		}
	})
}

func TestSwitchMaster(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := w.group(true)
		var idle []redis.Conn
		for range 10 {
			idle = append(idle, dialed(t, g, "a:6379"))
		}
		synctest.Wait()
		done := make(chan error)
		go func() {
			_, err := idle[0].Do("BLOCK") // waits for a reply of the old master, which hangs
			done <- err
		}()
		time.Sleep(time.Second)
		asked := w.count(func(s *server) int { return s.asked }, "a:6379")
		w.promote("b", 1, sentinels...)
		took(t, 0, 0, func() {
			if err := <-done; err == nil {
				t.Error("a reply of the old master")
			}
		})
		for _, c := range idle {
			if sentinel.Current(c) == nil {
				t.Error("an idle connection to the old master would be lent")
			}
		}
		if n := w.count(func(s *server) int { return s.asked }, "a:6379"); n != asked {
			t.Errorf("%d commands to the old master, want none", n-asked)
		}
		dialed(t, g, "b:6379")
	})
}

// A redis.Pool that is full of idle connections to the old master lends one to the new master at once, and asks none of the old ones.
func TestPoolFullOfIdleConnectionsToTheOldMaster(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := w.group(true)
		pool := &redis.Pool{DialContext: g.Dial, MaxIdle: 10, MaxActive: 10,
			TestOnBorrow: func(c redis.Conn, _ time.Time) error { return sentinel.Current(c) }}
		defer pool.Close()
		var idle []redis.Conn
		for range 10 {
			idle = append(idle, pool.Get())
		}
		for _, c := range idle {
			c.Close()
		}
		synctest.Wait()
		w.promote("b", 1, sentinels...)
		synctest.Wait()
		asked := w.count(func(s *server) int { return s.asked }, "a:6379")
		took(t, 0, 0, func() {
			c := pool.Get()
			defer c.Close()
			if _, err := c.Do("SET"); err != nil {
				t.Error(err)
			}
		})
		if n := w.count(func(s *server) int { return s.asked }, "a:6379"); n != asked || pool.IdleCount() != 1 {
			t.Errorf("%d commands to the old master, and %d idle connections", n-asked, pool.IdleCount())
		}
	})
}

// What is told while no subscription lives must not be missed.
func TestSwitchWhileTheSubscriptionIsDown(t *testing.T) {
	for what, fault := range map[string]func(*server){"down": down, "hang": hang} {
		inBubble(t, func(t *testing.T, w *world) {
			g := w.group(true)
			c := dialed(t, g, "a:6379")
			synctest.Wait()
			if got := w.listening(); !slices.Equal(got, sentinels[:1]) {
				t.Fatalf("listening at %v, want %v", got, sentinels[:1])
			}
			w.set(fault, "s1:26379")
			w.promote("b", 1, "s1:26379", "s3:26379") // the first cannot say so
			time.Sleep(6 * time.Second)
			if sentinel.Current(c) == nil {
				t.Errorf("%s: the switch was missed", what)
			}
			if got := w.listening(); !slices.Contains(got, "s2:26379") && !slices.Contains(got, "s3:26379") {
				t.Errorf("%s: listening at %v", what, got)
			}
		})
	}
}

func TestSubscriptionLivesWhileConnectionsAreOut(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := w.group(true)
		for range 2 {
			a, b := dialed(t, g, "a:6379"), dialed(t, g, "a:6379")
			time.Sleep(time.Minute)
			a.Close()
			synctest.Wait()
			if n := len(w.listening()); n != 1 {
				t.Fatalf("%d subscriptions, want 1", n)
			}
			b.Close()
			synctest.Wait()
			if n := w.count(func(s *server) int { return len(s.conns) }, sentinels...); n != 0 {
				t.Fatalf("%d connections to Sentinels while none to the master is out", n)
			}
		}
	})
}

func TestCloseDuringAFailover(t *testing.T) {
	for what, happens := range map[string]func(w *world){
		"the dial is too early": func(w *world) { w.set(tells("b 6379", 1), sentinels...) },
		"the master hangs":      func(w *world) { w.set(hang, "a:6379") },
		"the Sentinels hang":    func(w *world) { w.set(hang, sentinels...) },
	} {
		inBubble(t, func(t *testing.T, w *world) {
			g := w.group(true)
			out := dialed(t, g, "a:6379")
			synctest.Wait()
			happens(w)
			done := make(chan error)
			go func() {
				_, err := g.Dial(bg)
				done <- err
			}()
			time.Sleep(100 * time.Millisecond)
			took(t, 0, 0, func() {
				g.Close()
				if err := <-done; !errors.Is(err, fault.Closed) {
					t.Errorf("%s: a dial ends with %v", what, err)
				}
			})
			if _, err := g.Dial(bg); !errors.Is(err, fault.Closed) {
				t.Errorf("%s: a later dial ends with %v", what, err)
			}
			synctest.Wait()
			if n := len(w.listening()); n != 0 {
				t.Errorf("%s: %d subscriptions are left", what, n)
			}
			if err := out.Err(); err != nil && g.Epoch() == 0 {
				t.Errorf("%s: a connection that is out was broken: %v", what, err)
			}
		})
	}
}

// Callers that come together share the Sentinels' answer, but none gets one from before it came.
func TestCallersShareAnAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(hang, "s3:26379") // so that a question takes time
		g := w.group(false)
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				c, err := g.Dial(bg)
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			})
		}
		calls.Wait()
		if n := w.count(func(s *server) int { return s.asked }, "s1:26379"); n > 4 {
			t.Errorf("a Sentinel was sent %d commands, want 4: two questions", n)
		}
	})
}

// The Sentinel that is listened to may be cut off from the others, and never hear of the switch.
func TestListeningToASentinelThatKnowsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := dialed(t, w.group(true), "a:6379")
		time.Sleep(time.Second)
		w.promote("b", 1, "s2:26379", "s3:26379")
		time.Sleep(10 * time.Second)
		if sentinel.Current(c) == nil {
			t.Error("the switch was missed")
		}
	})
}

// A bindConn is a connection to a node of a cluster.
type bindConn struct {
	redis.Conn
	keys []string
}

func (c *bindConn) Bind(keys ...string) error {
	c.keys = keys
	return nil
}

// A connection can do what the one inside can, and nothing more.
func TestConnectionsCanDoWhatTheOneInsideCan(t *testing.T) {
	type bare struct{ redis.Conn }
	for name, wrap := range map[string]func(redis.Conn) redis.Conn{
		"redigo's": func(c redis.Conn) redis.Conn { return c },
		"binds":    func(c redis.Conn) redis.Conn { return &bindConn{Conn: c} },
		"bare":     func(c redis.Conn) redis.Conn { return bare{c} },
	} {
		inBubble(t, func(t *testing.T, w *world) {
			var inner redis.Conn
			g := sentinel.New(sentinel.Env{Addrs: sentinels, Master: "locks", DialSentinel: w.dial,
				Dial: func(ctx context.Context, addr string) (redis.Conn, error) {
					c, err := w.dial(ctx, addr)
					inner = wrap(c)
					return inner, err
				}})
			defer g.Close()
			c, err := g.Dial(bg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b, binds := c.(interface{ Bind(...string) error })
			if x, ok := inner.(*bindConn); ok != binds {
				t.Errorf("%s: it has Bind: %v", name, binds)
			} else if ok {
				if err := b.Bind("k"); err != nil || len(x.keys) != 1 || g.TestRole(bg, c) != nil {
					t.Errorf("%s: bound to %v, %v", name, x.keys, err)
				}
			}
			_, has := inner.(redis.ConnWithTimeout)
			took(t, 0, time.Second, func() {
				reply, err := redis.DoWithTimeout(c, time.Second, "BLOCK")
				if err == nil || has == strings.Contains(err.Error(), "not support") {
					t.Errorf("%s: with a timeout: %v, %v", name, reply, err)
				}
			})
		})
	}
}

// Whatever fails and comes back, in the end dials lead to the master, and what leads elsewhere is not lent.
func TestChaos(t *testing.T) {
	for seed := range uint64(60) {
		inBubble(t, func(t *testing.T, w *world) {
			r := rand.New(rand.NewPCG(seed, 1))
			g := w.group(seed%2 == 0)
			ctx, cancel := context.WithCancel(bg)
			var mu sync.Mutex
			var idle []redis.Conn
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() {
					for ctx.Err() == nil {
						within, stop := context.WithTimeout(ctx, 700*time.Millisecond)
						began := time.Now()
						c, err := g.Dial(within)
						if d := time.Since(began); d > 700*time.Millisecond {
							t.Errorf("seed %d: a dial took %v", seed, d)
						}
						if err == nil {
							_, _ = redis.DoWithTimeout(c, 300*time.Millisecond, "SET")
							mu.Lock()
							idle = append(idle, c)
							mu.Unlock()
						}
						stop()
						time.Sleep(50 * time.Millisecond)
					}
				})
			}
			servers, master, epoch := []string{"a", "b", "c"}, "a", 0
			all := append([]string{"a:6379", "b:6379", "c:6379"}, sentinels...)
			for range 40 {
				time.Sleep(time.Duration(r.IntN(600)) * time.Millisecond)
				one := all[r.IntN(len(all))]
				switch r.IntN(5) {
				case 0:
					w.set(down, one)
				case 1:
					w.set(hang, one)
				case 2, 3:
					w.set(up, one)
				case 4:
					epoch++
					if r.IntN(2) == 0 {
						w.set(plays("slave"), master+":6379")
					}
					master = servers[r.IntN(3)]
					told := slices.Clone(sentinels)
					r.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
					w.promote(master, epoch, told[:1+r.IntN(3)]...)
				}
			}
			w.set(up, all...)
			epoch++
			for _, s := range servers {
				if s != master {
					w.set(plays("slave"), s+":6379")
				}
			}
			w.promote(master, epoch, sentinels...)
			time.Sleep(2 * time.Second)
			cancel()
			workers.Wait()
			dialed(t, g, master+":6379")
			for _, c := range idle {
				if err := sentinel.Current(c); err == nil && c.(*sentinel.Conn).Conn.(*conn).addr != master+":6379" {
					t.Errorf("seed %d: a connection to %s would be lent, the master is %s", seed, c.(*sentinel.Conn).Conn.(*conn).addr, master)
				}
				c.Close()
			}
		})
	}
}
