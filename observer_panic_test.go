package redigolock_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// ends are the ways in which a user's func does not return.
var ends = map[string]func(){
	"panic":  func() { panic("observer") },
	"goexit": runtime.Goexit,
}

// aside runs f on a goroutine that a panic or runtime.Goexit ends, and reports whether f returned.
func aside(f func()) (returned bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		f()
		returned = true
	}()
	<-done
	return returned
}

// An Observer that panics in a call takes the call with it, and nothing else: the key is free at once or soon, later calls
// work, and the call has its end.
func TestObserverThatPanicsWedgesNothing(t *testing.T) {
	type setup struct {
		name   string
		before func(*sim.Server)
		make   func(o *redigolock.Observer, end func())
		call   func(l *redigolock.Locker) error
	}
	try := func(l *redigolock.Locker) error {
		k, err := l.TryAcquire(bg, "key", time.Minute)
		if err != nil {
			return err
		}
		kept := k.KeepAlive(bg)
		defer func() {
			defer func() { <-kept.Done() }() // Release ends it whatever happens
			_ = k.Release(bg)
		}()
		_ = k.Verify(bg)
		return k.Extend(bg, time.Minute)
	}
	wait := func(l *redigolock.Locker) error {
		ctx, cancel := context.WithTimeout(bg, 5*time.Second)
		defer cancel()
		_, err := l.Acquire(ctx, "key", time.Minute)
		return err
	}
	held := func(s *sim.Server) { _, _ = s.Do("SET", "key", "another's", "PX", 20000) }
	setups := []setup{
		{"Waiting", nil, func(o *redigolock.Observer, end func()) {
			o.Waiting = func(context.Context, string, string) context.Context { end(); return nil }
		}, try},
		{"Acquired", nil, func(o *redigolock.Observer, end func()) {
			o.Acquired = func(context.Context, *redigolock.Lock, time.Duration) { end() }
		}, try},
		{"Acquired of Acquire", nil, func(o *redigolock.Observer, end func()) {
			o.Acquired = func(context.Context, *redigolock.Lock, time.Duration) { end() }
		}, wait},
		{"GaveUp", held, func(o *redigolock.Observer, end func()) {
			o.GaveUp = func(context.Context, string, time.Duration, error) { end() }
		}, try},
		{"Contended", held, func(o *redigolock.Observer, end func()) {
			o.Contended = func(context.Context, string, *redigolock.HeldError) { end() }
		}, try},
		{"Contended of Acquire", held, func(o *redigolock.Observer, end func()) {
			o.Contended = func(context.Context, string, *redigolock.HeldError) { end() }
		}, wait},
		{"Unknown of an acquire", func(s *sim.Server) { s.Next("set", sim.Drop()); s.Next("try", sim.Drop()) },
			func(o *redigolock.Observer, end func()) {
				o.Unknown = func(context.Context, string, string, error) { end() }
			}, try},
		{"Failed of an acquire", func(s *sim.Server) { s.Next("set", sim.Refuse("OOM")); s.Next("try", sim.Refuse("OOM")) },
			func(o *redigolock.Observer, end func()) {
				o.Failed = func(context.Context, string, string, error) { end() }
			}, try},
		{"Unknown of a Verify", func(s *sim.Server) { s.Next("verify", sim.Late(2*time.Second)) },
			func(o *redigolock.Observer, end func()) {
				o.Unknown = func(context.Context, string, string, error) { end() }
			}, try},
		{"Extended", nil, func(o *redigolock.Observer, end func()) {
			o.Extended = func(context.Context, *redigolock.Lock, time.Duration) { end() }
		}, try},
		{"Unknown of a release", func(s *sim.Server) { s.Next("release", sim.Cut()); s.Next("rel", sim.Cut()) },
			func(o *redigolock.Observer, end func()) {
				o.Unknown = func(context.Context, string, string, error) { end() }
			}, try},
		{"Released", nil, func(o *redigolock.Observer, end func()) {
			o.Released = func(context.Context, *redigolock.Lock, time.Duration, error) { end() }
		}, try},
	}
	for _, fair := range []bool{false, true} {
		for how, end := range ends {
			for _, x := range setups {
				name := map[bool]string{false: "plain ", true: "fair "}[fair] + how + " in " + x.name
				t.Run(name, func(t *testing.T) {
					inBubble(t, func(t *testing.T, s *sim.Server) {
						begun, over := 0, false
						o := &redigolock.Observer{
							Waiting:  func(context.Context, string, string) context.Context { begun++; return nil },
							Acquired: func(context.Context, *redigolock.Lock, time.Duration) { begun-- },
							GaveUp:   func(context.Context, string, time.Duration, error) { begun-- },
						}
						x.make(o, func() {
							if !over {
								over = true
								if x.name == "GaveUp" || strings.HasPrefix(x.name, "Acquired") {
									begun-- // it was called instead of the one that counts
								}
								end()
							}
						})
						l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: fair, Observer: o, OpTimeout: time.Second})
						if x.before != nil {
							x.before(s)
						}
						if aside(func() { _ = x.call(l) }) || !over {
							t.Fatal("the call returned, though the Observer did not")
						}
						time.Sleep(30 * time.Second) // what it has left is removed, or the other's lock is over
						if begun != 0 {
							t.Errorf("%d calls have not ended", begun)
						}
						if st := l.Stats(); st.Waiting != 0 || st.Owed != 0 {
							t.Errorf("Stats are %+v", st)
						}
						ctx, cancel := context.WithTimeout(bg, time.Second)
						defer cancel()
						k, err := l.Acquire(ctx, "key", time.Minute)
						if err != nil {
							t.Fatalf("the key is not free: %v", err)
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

// An Observer that ends a goroutine of the Locker's own costs nothing but that event: another goroutine goes on. (A panic
// there ends the process, as any does.)
func TestObserverThatEndsAGoroutineWedgesNothing(t *testing.T) {
	t.Run("renewals", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			renewed := map[string]int{}
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Observer: &redigolock.Observer{
				Extended: func(_ context.Context, k *redigolock.Lock, _ time.Duration) {
					renewed[k.Key()]++
					runtime.Goexit()
				},
			}})
			for _, key := range []string{"a", "b", "c"} {
				must(t)(l.TryAcquire(bg, key, time.Minute)).KeepAlive(bg)
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			for _, key := range []string{"a", "b", "c"} {
				if n := renewed[key]; n < 9 {
					t.Errorf("%s was renewed %d times in 5 minutes", key, n)
				}
			}
			if st := l.Stats(); st.Held != 3 || st.Kept != 3 || st.Conns > 1 {
				t.Errorf("Stats are %+v", st)
			}
		})
	})
	t.Run("losses", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Observer: &redigolock.Observer{
				Lost: func(context.Context, *redigolock.Lock, error) { runtime.Goexit() },
			}})
			var kept []context.Context
			for _, key := range []string{"a", "b", "c"} {
				kept = append(kept, must(t)(l.TryAcquire(bg, key, time.Minute)).KeepAlive(bg))
			}
			long := must(t)(l.TryAcquire(bg, "long", time.Hour))
			longKept := long.KeepAlive(bg)
			s.RefuseDials()
			s.Cut()
			time.Sleep(time.Minute)
			for _, ctx := range kept {
				wants(t, context.Cause(ctx), redigolock.ErrLost)
			}
			<-longKept.Done()
			if now := time.Now(); now.After(long.Deadline()) {
				t.Errorf("the loss of a later lock came %v after its Deadline", now.Sub(long.Deadline()))
			}
		})
	})
	t.Run("clean-up", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			told := 0
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: time.Second, Observer: &redigolock.Observer{
				Unknown: func(_ context.Context, _, verb string, _ error) {
					if verb == "clean up" {
						told++
						runtime.Goexit()
					}
				},
			}})
			s.Next("set", sim.Drop(), sim.Drop())
			s.Next("extend", sim.Cut())
			s.Next("release", sim.Cut(), sim.Cut())
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if told != 2 || s.Miniredis().Exists("key") || l.Stats().Owed != 0 {
				t.Errorf("told %d times; the key is there: %v; %+v", told, s.Miniredis().Exists("key"), l.Stats())
			}
		})
	})
}
