package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// toldOf has the Locker note what it tells of a verb.
func toldOf(l *redigolock.Locker, verb string) *toldErrors {
	told := &toldErrors{}
	note := func(_ context.Context, _, v string, err error) {
		if v == verb {
			told.add(err)
		}
	}
	l.Observer = &redigolock.Observer{Failed: note, Unknown: note}
	return told
}

// A renewal that gets no connection says so of its own lock, and names the package once.
func TestRenewalWithoutAConnectionNamesItsKey(t *testing.T) {
	for _, binds := range []bool{false, true} {
		t.Run(fmt.Sprint("binds ", binds), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				var p redigolock.Pool = simPool(t, s, "redis")
				if binds {
					p = bindsPool{simPool(t, s, "redis")}
				}
				l := simLocker(t, &redigolock.Locker{Pool: p})
				told := toldOf(l, "extend")
				var locks []*redigolock.Lock
				var ends []context.Context
				for _, key := range []string{"first", "second"} {
					k, err := l.TryAcquire(bg, key, time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					locks, ends = append(locks, k), append(ends, k.KeepAlive(bg))
				}
				accept := s.RefuseDials()
				s.CloseConns()
				time.Sleep(time.Minute)
				accept()
				keys := map[string]int{}
				for _, err := range told.all() {
					wants(t, err, redigolock.ErrUnavailable)
					if text := err.Error(); strings.Count(text, "redigolock:") != 1 {
						t.Errorf("the package is named more than once in %q", text)
					}
					for _, k := range locks {
						if strings.Contains(err.Error(), `"`+k.Key()+`"`) {
							keys[k.Key()]++
						}
					}
				}
				if keys["first"] == 0 || keys["second"] == 0 || keys["first"]+keys["second"] != len(told.all()) {
					t.Errorf("of %d renewals that failed, these named their keys: %v", len(told.all()), keys)
				}
				for i, kept := range ends {
					cause := context.Cause(kept)
					wants(t, cause, redigolock.ErrLost, redigolock.ErrUnavailable)
					if text := cause.Error(); strings.Count(text, "redigolock:") != 1 || !strings.Contains(text, locks[i].Key()) {
						t.Errorf("the cause is %q", text)
					}
					locks[i].Release(bg)
				}
			})
		})
	}
}

// bindsPool is a pool of connections that bind to anything.
type bindsPool struct{ *redis.Pool }

func (p bindsPool) Get() redis.Conn { return bindsToAll{p.Pool.Get()} }

func (p bindsPool) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := p.Pool.GetContext(ctx)
	return bindsToAll{c}, err
}

// A server that turns the renewer away for a while costs no lock; what it says is in the error, which is definite.
func TestRenewalsAndCleanUpsThatAreRefusedAtTheDoor(t *testing.T) {
	for line, unavailable := range map[string]bool{maxClients: true, denied: false} {
		for name := range doorLockers(t, nil) {
			t.Run("renewal/"+firstWord(line)+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					renewalRefusedAtTheDoor(t, s, doorLockers(t, s)[name], line, unavailable)
				})
			})
			if name == "fair" || name == "Mux, fair" { // leaves its queue instead
				continue
			}
			t.Run("clean-up/"+firstWord(line)+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					cleanUpRefusedAtTheDoor(t, s, doorLockers(t, s)[name], line, unavailable)
				})
			})
		}
	}
}

func renewalRefusedAtTheDoor(t *testing.T, s *sim.Server, l *redigolock.Locker, line string, unavailable bool) {
	told := toldOf(simLocker(t, l), "extend")
	k, err := l.TryAcquire(bg, "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	kept := k.KeepAlive(bg)
	s.Rule(func(sim.Request) sim.Action { return sim.RefuseAndEnd(line) })
	time.Sleep(40 * time.Second) // a renewal was due after 30 s
	s.Rule(nil)
	time.Sleep(5 * time.Minute)
	if kept.Err() != nil {
		t.Errorf("the lock was lost: %v", context.Cause(kept))
	}
	all := told.all()
	if len(all) == 0 {
		t.Error("no renewal failed")
	}
	for _, err := range all {
		wantTurnedAway(t, err, line, unavailable)
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
}

// A clean-up goes on where the server has no room now, and ends where it will never let it in.
func cleanUpRefusedAtTheDoor(t *testing.T, s *sim.Server, l *redigolock.Locker, line string, unavailable bool) {
	told := toldOf(simLocker(t, l), "clean up")
	s.Rule(func(q sim.Request) sim.Action {
		if q.Verb == "set" || q.Verb == "setnx" {
			return sim.Drop()
		}
		return sim.RefuseAndEnd(line)
	})
	_, err := l.TryAcquire(bg, "key", time.Hour)
	wants(t, err, redigolock.ErrUnknown)
	time.Sleep(5 * time.Second)
	s.Rule(nil)
	time.Sleep(5 * time.Minute)
	all := told.all()
	if len(all) == 0 {
		t.Error("no clean-up failed")
	}
	for _, err := range all {
		wantTurnedAway(t, err, line, unavailable)
	}
	if n, _ := s.Do("EXISTS", "key"); n == int64(1) && unavailable {
		t.Error("the key is left")
	}
	if n := l.Stats().Owed; n != 0 {
		t.Errorf("%d are owed", n)
	}
}

// A batch breaks while it tells the script to a server that has forgotten it: what was not answered is unknown, and not
// what the server said before it was told the script.
func TestBatchThatBreaksWhileTheScriptIsToldIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		told := toldOf(r.Locker, "extend")
		locks := r.dueAtOnce(r.Locker, "key")
		r.Do("SCRIPT", "FLUSH")
		r.Plan(map[string][]redistest.Action{"eval": {redistest.Cut()}})
		kept := locks[0].KeepAlive(bg)
		time.Sleep(time.Second)
		if kept.Err() != nil {
			t.Errorf("the lock was lost: %v", context.Cause(kept))
		}
		all := told.all()
		if len(all) != 1 {
			t.Fatalf("the Observer was told %v", all)
		}
		wants(t, all[0], redigolock.ErrUnknown)
		if strings.Contains(all[0].Error(), "NOSCRIPT") {
			t.Error(all[0])
		}
		r.OK(locks[0].Release(bg))
	})
}

// refusedToBind is a pool whose connections cannot be bound.
type refusedToBind struct {
	*redis.Pool
	err *error
}

func (p refusedToBind) Get() redis.Conn { return unboundConn{bindsToAll{p.Pool.Get()}, p.err} }

func (p refusedToBind) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := p.Pool.GetContext(ctx)
	return unboundConn{bindsToAll{c}, p.err}, err
}

type unboundConn struct {
	bindsToAll
	err *error
}

func (c unboundConn) Bind(...string) error { return *c.err }

// A Bind that fails means that no connection could be had. What is refused for good ends a wait; what nobody knows, such as
// "no node for the slot", does not.
func TestBindThatFails(t *testing.T) {
	for _, x := range []struct {
		name        string
		err         error
		unavailable bool
	}{
		{"of a name we do not know", errors.New("redisc: failed to get a connection"), true},
		{"cluster down", redis.Error("CLUSTERDOWN The cluster is down"), true},
		{"no rights", redis.Error("NOPERM this user has no permissions to run the 'cluster|slots' command"), false},
		{"wrong password", redis.Error("WRONGPASS invalid username-password pair or user is disabled."), false},
		{"not supported", fmt.Errorf("%w: no cluster", redigolock.ErrUnsupported), false},
	} {
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				var now error
				for name, with := range map[string]redigolock.AcquireFunc{"default": nil, "SetNXScript": redigolock.SetNXScript} {
					l := simLocker(t, &redigolock.Locker{Pool: refusedToBind{simPool(t, s, "redis"), &now}, AcquireWith: with})
					k, err := l.TryAcquire(bg, "held", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					now = x.err
					for _, f := range []func() error{
						func() error { _, err := l.TryAcquire(bg, "key", time.Minute); return err },
						func() error { return k.Extend(bg, time.Minute) },
						func() error { return k.Release(bg) },
					} {
						err := f()
						wants(t, err, x.err)
						wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrNotHeld)
						if errors.Is(err, redigolock.ErrUnavailable) != x.unavailable {
							t.Errorf("%s: %v: ErrUnavailable: want %v", name, err, x.unavailable)
						}
					}
					ctx, cancel := context.WithTimeout(bg, 10*time.Second)
					_, err = l.Acquire(ctx, "other", time.Minute)
					wants(t, err, x.err)
					if waited := errors.Is(err, context.DeadlineExceeded); waited != x.unavailable {
						t.Errorf("%s: %v: it should have waited: %v", name, err, x.unavailable)
					}
					cancel()
					now = nil
					s.Do("DEL", "held")
					time.Sleep(2 * time.Minute)
				}
			})
		})
	}
}

// A caller of a Mux that leaves before its command was written may use its arguments again at once.
func TestMuxKeepsNoArgumentsOfACallerThatHasReturned(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		m := &redigolock.Mux{Pool: simPool(t, s, "redis")}
		t.Cleanup(func() { m.Close() })
		hold := make(chan struct{})
		s.Next("get", sim.Hold(hold))
		first := inBackground(func() error {
			c := m.Get()
			defer c.Close()
			_, err := c.Do("GET", "first")
			return err
		})
		synctest.Wait() // it leads, and waits for its reply
		args := []any{"key", "right"}
		value := []byte("right")
		bytes := []any{"bytes", value}
		left := []<-chan error{}
		for _, a := range [][]any{args, bytes} {
			left = append(left, inBackground(func() error {
				c := m.Get()
				defer c.Close()
				_, err := redis.DoWithTimeout(c, 100*time.Millisecond, "SET", a...)
				return err
			}))
		}
		for _, ended := range left {
			if err := <-ended; err == nil {
				t.Error("it was carried out though the one before was held")
			}
		}
		args[1] = "wrong"
		copy(value, "wrong")
		close(hold)
		if err := <-first; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		for _, q := range s.Requests() {
			if q.Verb == "set" && slices.Contains(q.Args, "wrong") {
				t.Errorf("what was sent had changed: %v", q.Args)
			}
		}
	})
}
