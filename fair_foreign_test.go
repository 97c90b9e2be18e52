package redigolock_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A dressedConn turns what comes for one of the scripts, while it is on.
type dressedConn struct {
	redis.Conn
	verb string
	on   *atomic.Bool
	turn func(reply any, err error) (any, error)
	sent []string
}

func (c *dressedConn) note(args []any) string {
	if len(args) == 0 {
		return ""
	}
	return testbed.ScriptNames[args[0]]
}

func (c *dressedConn) turned(verb string, reply any, err error) (any, error) {
	if verb == c.verb && c.on.Load() {
		return c.turn(reply, err)
	}
	return reply, err
}

func (c *dressedConn) Send(cmd string, args ...any) error {
	c.sent = append(c.sent, c.note(args))
	return c.Conn.Send(cmd, args...)
}

func (c *dressedConn) Do(cmd string, args ...any) (any, error) {
	reply, err := c.Conn.Do(cmd, args...)
	return c.turned(c.note(args), reply, err)
}

func (c *dressedConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	reply, err := redis.DoWithTimeout(c.Conn, d, cmd, args...)
	return c.turned(c.note(args), reply, err)
}

func (c *dressedConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	reply, err := redis.DoContext(c.Conn, ctx, cmd, args...)
	return c.turned(c.note(args), reply, err)
}

func (c *dressedConn) Receive() (any, error) { return c.ReceiveWithTimeout(0) }

func (c *dressedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	reply, err := redis.ReceiveWithTimeout(c.Conn, d)
	verb := ""
	if len(c.sent) > 0 {
		verb, c.sent = c.sent[0], c.sent[1:]
	}
	return c.turned(verb, reply, err)
}

func (c *dressedConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

// dressed is a fair Locker whose connections turn what comes for a script while on is true.
func dressed(t *testing.T, s *sim.Server, verb string, turn func(reply any, err error) (any, error)) (l *redigolock.Locker, on *atomic.Bool) {
	on = new(atomic.Bool)
	base := simPool(t, s, "redis")
	p := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		c, err := base.DialContext(ctx)
		if err != nil {
			return nil, err
		}
		return &dressedConn{Conn: c, verb: verb, on: on, turn: turn}, nil
	}}
	t.Cleanup(func() { p.Close() })
	return simLocker(t, &redigolock.Locker{Pool: p, Fair: true}), on
}

// foreignReplies are replies of adapters to a script that was carried out.
var foreignReplies = map[string]any{
	"a type of its own": foreignReply{},
	"nil":               nil,
	"a number":          int64(1),
	"a short list":      []any{int64(1), int64(0)},
	"text in a list":    []any{"1", "0", "holder", "5", ""},
}

// A REL whose reply cannot be read has released the lock, or not: Release says what it got, and it is repeated until a reply can
// be read. The waiter who went along is told that its place is not known, leaves the queue, and the next one gets the lock.
func TestFairForeignReplyToARelease(t *testing.T) {
	for name, reply := range foreignReplies {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				l, on := dressed(t, s, "rel", func(any, error) (any, error) { return reply, nil })
				k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
				taken := waits(bg, l, "key", time.Hour)
				time.Sleep(100 * time.Millisecond)
				on.Store(true)
				if err := k.Release(bg); err == nil || !strings.Contains(err.Error(), "release") {
					t.Errorf("Release: %v", err)
				}
				a := <-taken
				wants(t, a.err, redigolock.ErrUnknown)
				if n := s.Count("rel"); n < 1 {
					t.Fatal("no REL was sent")
				}
				on.Store(false)
				time.Sleep(time.Second)
				if n := l.Stats().Owed; n != 0 || s.Miniredis().Exists("key") {
					t.Errorf("%d are owed, keys are left: %v", n, s.Miniredis().Keys())
				}
			})
		})
	}
}

// A POKE whose reply cannot be read ends its waiter with ErrUnknown, which says what came, and leaves nothing behind; those who
// wait in the same Locker go on.
func TestFairForeignReplyToAPoke(t *testing.T) {
	for name, reply := range foreignReplies {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				l, on := dressed(t, s, "poke", func(any, error) (any, error) { return reply, nil })
				holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
				first := waits(bg, l, "key", time.Hour)
				time.Sleep(100 * time.Millisecond)
				second := waits(bg, l, "key", time.Hour)
				on.Store(true)
				a := <-first
				wants(t, a.err, redigolock.ErrUnknown)
				on.Store(false)
				time.Sleep(100 * time.Millisecond)
				if n, _ := redis.Int(s.Do("LLEN", "{key}:redigolock-q1")); n != 1 {
					t.Errorf("%d entries, want that of the second waiter", n)
				}
				if err := holder.Release(bg); err != nil {
					t.Fatal(err)
				}
				a = <-second
				if err := mustGet(t)(a.k, a.err).Release(bg); err != nil {
					t.Error(err)
				}
				if s.Miniredis().Exists("key") {
					t.Error("the key is left")
				}
			})
		})
	}
}

// An error reply that another package has dressed is what the server said: a transient one is repeated, one for good is
// definite, and none is an unknown outcome.
func TestFairRefusalsInAnotherDress(t *testing.T) {
	for name, turn := range turns {
		t.Run(name, func(t *testing.T) {
			turned := func(reply any, err error) (any, error) {
				if _, isReply := err.(redis.Error); isReply {
					err = turn(err)
				}
				return reply, err
			}
			for _, text := range []string{"LOADING Redis is loading the dataset in memory", "NOPERM no permissions"} {
				passes := strings.HasPrefix(text, "LOADING")
				t.Run(text[:6], func(t *testing.T) {
					inFairBubble(t, func(t *testing.T, s *sim.Server) {
						s.Delay(time.Millisecond)
						l, on := dressed(t, s, "rel", turned)
						on.Store(true)
						k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
						s.Next("rel", sim.Refuse(text))
						err := k.Release(bg)
						wantsNot(t, err, redigolock.ErrUnknown)
						if passes != (err == nil) || err != nil && !strings.Contains(err.Error(), text) {
							t.Errorf("Release: %v", err)
						}
						time.Sleep(time.Second)
						if n := l.Stats().Owed; n != 0 || s.Miniredis().Exists("key") {
							t.Errorf("%d are owed, the key is left: %v", n, s.Miniredis().Exists("key"))
						}
					})
					inFairBubble(t, func(t *testing.T, s *sim.Server) {
						s.Delay(time.Millisecond)
						l, on := dressed(t, s, "poke", turned)
						on.Store(true)
						holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
						waiter := waits(bg, l, "key", time.Hour)
						time.Sleep(100 * time.Millisecond)
						s.Next("poke", sim.Refuse(text))
						time.Sleep(2 * capOfPokes)
						if err := holder.Release(bg); err != nil {
							t.Fatal(err)
						}
						a := <-waiter
						wantsNot(t, a.err, redigolock.ErrUnknown)
						if passes != (a.err == nil) || a.err != nil && !strings.Contains(a.err.Error(), text) {
							t.Errorf("the waiter: %v", a.err)
						}
						if a.k != nil {
							if err := a.k.Release(bg); err != nil {
								t.Error(err)
							}
						}
						if s.Miniredis().Exists("{key}:redigolock-q1") || s.Miniredis().Exists("key") {
							t.Errorf("keys are left: %v", s.Miniredis().Keys())
						}
					})
				})
			}
		})
	}
}
