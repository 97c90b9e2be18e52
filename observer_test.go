package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// An eventLog is an Observer that writes down what it is told.
type eventLog struct {
	mu     sync.Mutex // protects what follows
	events []string
	errs   []error
	times  []time.Duration
}

func (l *eventLog) add(event string, d time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.times, l.errs = append(l.events, event), append(l.times, d), append(l.errs, err)
}

// take returns what was told since the last take.
func (l *eventLog) take() (events []string, times []time.Duration, errs []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, times, errs = l.events, l.times, l.errs
	l.events, l.times, l.errs = nil, nil, nil
	return events, times, errs
}

func (l *eventLog) observer() *redigolock.Observer {
	return &redigolock.Observer{
		Waiting: func(ctx context.Context, key, verb string) context.Context {
			l.add(fmt.Sprintf("waiting %s %s", key, verb), 0, nil)
			return ctx
		},
		Acquired: func(_ context.Context, k *redigolock.Lock, waited time.Duration) {
			l.add("acquired "+k.Key(), waited, nil)
		},
		GaveUp: func(_ context.Context, key string, waited time.Duration, err error) {
			l.add("gave up "+key, waited, err)
		},
		Contended: func(_ context.Context, key string, held *redigolock.HeldError) {
			l.add("contended "+key+" by "+held.Holder, held.TTL, held)
		},
		Failed: func(_ context.Context, key, verb string, err error) {
			l.add(fmt.Sprintf("failed %s %s", key, verb), 0, err)
		},
		Extended: func(_ context.Context, k *redigolock.Lock, margin time.Duration) {
			l.add("extended "+k.Key(), margin, nil)
		},
		Lost: func(_ context.Context, k *redigolock.Lock, cause error) { l.add("lost "+k.Key(), 0, cause) },
		Released: func(_ context.Context, k *redigolock.Lock, held time.Duration, err error) {
			l.add("released "+k.Key(), held, err)
		},
		Unknown: func(_ context.Context, key, verb string, err error) {
			l.add(fmt.Sprintf("unknown %s %s", key, verb), 0, err)
		},
	}
}

// told checks the events since the last call, and returns what came with the last of them.
func (l *eventLog) told(t *testing.T, want ...string) (time.Duration, error) {
	t.Helper()
	events, times, errs := l.take()
	if !slices.Equal(events, want) {
		t.Fatalf("the observer was told %q, want %q", events, want)
	}
	if len(want) == 0 {
		return 0, nil
	}
	return times[len(times)-1], errs[len(errs)-1]
}

func TestObserverIsToldTheRightValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		log := &eventLog{}
		r.Locker.Observer, r.Locker.Owner, r.Locker.AcquireWith = log.observer(), "me", redigolock.SetNXScript
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		if waited, _ := log.told(t, "waiting key try acquire", "acquired key"); waited != 0 {
			t.Errorf("waited %v by a clock that stands still", waited)
		}

		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		events, times, errs := log.take()
		if len(events) != 3 || events[0] != "waiting key try acquire" || !strings.HasPrefix(events[1], "contended key by me#") || events[2] != "gave up key" {
			t.Errorf("told %q", events)
		} else if times[1] < 30*time.Second || times[1] > time.Minute {
			t.Errorf("the holder has %v of a minute", times[1])
		} else {
			wants(t, errs[1], redigolock.ErrHeld)
			wants(t, errs[2], redigolock.ErrHeld)
		}
		if strings.Contains(fmt.Sprint(events, errs), k.Token()) {
			t.Error("the observer is told the whole token")
		}

		r.OK(k.Verify(bg))
		r.OK(k.Extend(bg, time.Hour))
		if margin, _ := log.told(t, "extended key"); margin != validFor(time.Minute) {
			t.Errorf("%v were left by a clock that stands still", margin)
		}
		c.Add(10 * time.Second)
		r.OK(k.Release(bg))
		if held, err := log.told(t, "released key"); held != 10*time.Second || err != nil {
			t.Errorf("held %v, error %v", held, err)
		}
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		log.told(t) // a second Release releases nothing
	})
}

func TestObserverIsToldHowLongAnAcquireWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		log := &eventLog{}
		r.Locker.Observer = log.observer()
		c := stopClock(r.Locker)
		r.Do("SET", "key", "another's", "PX", 60000)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			c.Add(5 * time.Second)
			if attempt == 2 {
				r.Do("DEL", "key")
			}
			return 0
		}
		r.Must(r.Locker.Acquire(bg, "key", time.Minute))
		events, times, _ := log.take()
		if len(events) != 4 || events[0] != "waiting key acquire" ||
			!strings.HasPrefix(events[1], "contended key") || !strings.HasPrefix(events[2], "contended key") {
			t.Fatalf("told %q", events)
		}
		if events[3] != "acquired key" || times[3] != 10*time.Second {
			t.Errorf("%s after %v", events[3], times[3])
		}
	})
}

func TestObserverIsToldOfALossOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		log := &eventLog{}
		r.Locker.Observer = log.observer()
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		kept, second := k.KeepAlive(bg), k.KeepAlive(bg)
		r.Do("DEL", "key")
		log.take()
		wants(t, k.Verify(bg), redigolock.ErrNotHeld)
		wants(t, k.Verify(bg), redigolock.ErrNotHeld)
		receive(t, "the context ends", kept.Done())
		receive(t, "the context ends", second.Done())
		events, _, errs := log.take()
		if !slices.Equal(events, []string{"failed key verify", "lost key"}) {
			t.Fatalf("told %q", events)
		}
		wants(t, errs[0], redigolock.ErrNotHeld)
		cause := errs[1]
		wants(t, cause, redigolock.ErrLost, redigolock.ErrNotHeld)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		_, err := log.told(t, "failed key release", "released key")
		wants(t, err, redigolock.ErrNotHeld)
	})
}

func TestObserverIsToldOfEveryUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		log := &eventLog{}
		r.Locker.Observer, r.Locker.OpTimeout = log.observer(), time.Second
		drop := []redistest.Action{redistest.Drop()}
		r.Plan(map[string][]redistest.Action{"set": drop, "verify": drop, "extend": nil, "fence": drop, "release": {drop[0], drop[0]}})
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		_, _, errs := log.take()
		wants(t, errs[1], redigolock.ErrUnknown)
		r.OK(k.Verify(bg)) // on another connection
		_, err := log.told(t, "unknown key verify")
		wants(t, err, redigolock.ErrUnknown)
		_, err = k.Fence(bg)
		r.OK(err)
		log.told(t, "unknown key fence")
		r.Plan(map[string][]redistest.Action{"extend": {drop[0], drop[0]}, "release": {drop[0], drop[0]}})
		wants(t, k.Extend(bg, time.Minute), redigolock.ErrUnknown)
		log.told(t, "unknown key extend", "unknown key extend")
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		_, err = log.told(t, "unknown key release", "unknown key release", "released key")
		wants(t, err, redigolock.ErrUnknown)
	})
}

func TestObserverIsToldOfRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		log := &eventLog{}
		r.Locker.Observer = log.observer()
		k := r.dueAtOnce(r.Locker, "key")[0]
		k.KeepAlive(bg)
		eventually(t, "a renewal", func() bool { return len(r.Sent("extend")) > 0 })
		r.OK(k.Release(bg))
		events, times, _ := log.take()
		if !slices.Equal(events, []string{"waiting key attach", "acquired key", "extended key", "released key"}) {
			t.Fatalf("told %q", events)
		}
		if margin := times[2]; margin <= 0 || margin > validFor(time.Minute) { // what was left of the minute it was attached with
			t.Errorf("the margin was %v", margin)
		}
	})
}

func TestObserverAndItsFuncsMayBeNil(t *testing.T) {
	for name, o := range map[string]*redigolock.Observer{"nil": nil, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.Observer = o
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
				wants(t, err, redigolock.ErrHeld)
				kept := k.KeepAlive(bg)
				r.OK(k.Extend(bg, time.Minute))
				r.Plan(map[string][]redistest.Action{"verify": {redistest.Drop(), redistest.Drop()}})
				wants(t, k.Verify(bg), redigolock.ErrUnknown)
				r.Do("DEL", "key")
				wants(t, k.Verify(bg), redigolock.ErrNotHeld)
				receive(t, "the context ends", kept.Done())
				wants(t, k.Release(bg), redigolock.ErrNotHeld)
			})
		})
	}
}

// What Waiting returns is what the other funcs get; it changes nothing about when the call ends.
func TestObserversContext(t *testing.T) {
	type spanKey struct{}
	detached := context.WithValue(context.Background(), spanKey{}, "span")
	ended, end := context.WithCancelCause(detached)
	end(errors.New("the span's own end"))
	for name, span := range map[string]context.Context{"detached": detached, "ended": ended} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				var spans []any
				note := func(ctx context.Context) { spans = append(spans, ctx.Value(spanKey{})) }
				r.Locker.Observer = &redigolock.Observer{
					Waiting:   func(context.Context, string, string) context.Context { return span },
					Acquired:  func(ctx context.Context, _ *redigolock.Lock, _ time.Duration) { note(ctx) },
					Contended: func(ctx context.Context, _ string, _ *redigolock.HeldError) { note(ctx) },
					GaveUp:    func(ctx context.Context, _ string, _ time.Duration, _ error) { note(ctx) },
				}
				ctx, cancel := context.WithCancelCause(bg)
				why := errors.New("the caller's own end")
				r.Locker.Retry = func(int, time.Duration) time.Duration {
					cancel(why)
					return time.Minute
				}
				r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				_, err := r.Locker.Acquire(ctx, "key", time.Minute)
				wants(t, err, redigolock.ErrHeld, context.Canceled, why)
				if want := []any{"span", "span", "span"}; !slices.Equal(spans, want) {
					t.Errorf("the funcs got %v, want %v", spans, want)
				}
			})
		})
	}
}

// A valueContext cannot be compared.
type valueContext struct {
	context.Context
	values map[string]string
}

func TestObserverWaitingMayReturnAContextThatCannotBeCompared(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		o := &redigolock.Observer{Waiting: func(ctx context.Context, _, _ string) context.Context { return ctx }}
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Observer: o})
		k := mustGet(t)(l.Acquire(valueContext{bg, nil}, "key", time.Minute))
		if err := k.Release(valueContext{bg, nil}); err != nil {
			t.Error(err)
		}
	})
}

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
		{"Failed of an acquire", func(s *sim.Server) {
			s.Next("set", sim.Refuse("OOM"), sim.Refuse("OOM"), sim.Refuse("OOM"))
			s.Next("try", sim.Refuse("OOM"))
		},
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
						s.Delay(50 * time.Microsecond) // or a fair waiter's next command, in the background, is told first now and then
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
				mustGet(t)(l.TryAcquire(bg, key, time.Minute)).KeepAlive(bg)
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
				kept = append(kept, mustGet(t)(l.TryAcquire(bg, key, time.Minute)).KeepAlive(bg))
			}
			long := mustGet(t)(l.TryAcquire(bg, "long", time.Hour))
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

// A watched call is what an Observer must be told of one call, and what it was told.
type watched struct {
	verb     string
	begun    bool
	lock     *redigolock.Lock // that Acquired had
	err      error            // that GaveUp had
	ends     int              // of Acquired and GaveUp, or of Released
	extended int
	told     []error // of Failed and Unknown, with the ctx of this very call
	late     string
}

type watchedKey struct{}

// A observed holds the promises of Observer and of Stats against what random calls, faults and cancellations do.
type observed struct {
	t *testing.T

	mu   sync.Mutex // protects what follows, and all watched
	lost map[*redigolock.Lock]bool
	held map[*redigolock.Lock]bool // was returned, and Release has not been called

	calls, gaveUp, losses, failed, unknown, cleanUps int
}

// of is the call that ctx belongs to; own says that it is told in the call, and not in the background.
func of(ctx context.Context) (w *watched, own bool) {
	w, _ = ctx.Value(watchedKey{}).(*watched)
	return w, ctx.Done() != nil
}

// read fails if a text shows a whole token.
func (x *observed) read(what string, v any) {
	if s := fmt.Sprintf("%v", v); tokens.MatchString(s) {
		x.t.Errorf("%s is told a whole token: %s", what, s)
	}
}

func (x *observed) outcome(ctx context.Context, verb string, err error) {
	x.read(verb, err)
	w, own := of(ctx)
	switch {
	case w == nil && verb == "release": // of a fair Locker's token that is forgotten, and was granted late
	case w == nil:
		x.t.Errorf("a %s that failed has the ctx of no call: %v", verb, err)
	case own && w.ends > 0:
		w.late = verb
	case own:
		w.told = append(w.told, err)
	}
	if verb == "clean up" {
		x.cleanUps++
	}
}

func (x *observed) observer() *redigolock.Observer {
	return &redigolock.Observer{
		Waiting: func(ctx context.Context, key, verb string) context.Context {
			x.mu.Lock()
			defer x.mu.Unlock()
			w, _ := of(ctx)
			if w.begun || w.verb != verb {
				x.t.Errorf("Waiting for %s, in a %s", verb, w.verb)
			}
			w.begun = true
			x.calls++
			return ctx
		},
		Acquired: func(ctx context.Context, k *redigolock.Lock, waited time.Duration) {
			x.mu.Lock()
			defer x.mu.Unlock()
			w, _ := of(ctx)
			w.lock, w.ends = k, w.ends+1
			if waited < 0 {
				x.t.Errorf("waited %v", waited)
			}
		},
		GaveUp: func(ctx context.Context, key string, waited time.Duration, err error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.read("GaveUp", err)
			w, _ := of(ctx)
			w.err, w.ends = err, w.ends+1
			x.gaveUp++
		},
		Contended: func(ctx context.Context, key string, held *redigolock.HeldError) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.read("Contended", held)
			if w, own := of(ctx); own && w.ends > 0 {
				w.late = "contended"
			}
		},
		Failed: func(ctx context.Context, key, verb string, err error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.failed++
			if errors.Is(err, redigolock.ErrUnknown) || errors.Is(err, redigolock.ErrHeld) {
				x.t.Errorf("%s: Failed is told %v", verb, err)
			}
			x.outcome(ctx, verb, err)
		},
		Unknown: func(ctx context.Context, key, verb string, err error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.unknown++
			wants(x.t, err, redigolock.ErrUnknown)
			x.outcome(ctx, verb, err)
		},
		Extended: func(ctx context.Context, k *redigolock.Lock, margin time.Duration) {
			x.mu.Lock()
			defer x.mu.Unlock()
			if margin <= 0 {
				x.t.Errorf("a lock was extended with %v left", margin)
			}
			if w, _ := of(ctx); w.verb == "extend" {
				w.extended++
			}
		},
		Lost: func(ctx context.Context, k *redigolock.Lock, cause error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.read("Lost", cause)
			wants(x.t, cause, redigolock.ErrLost)
			if w, _ := of(ctx); w == nil || w.verb != "keep alive" {
				x.t.Error("Lost has not the ctx of KeepAlive")
			}
			if x.lost[k] {
				x.t.Error("a lock was lost twice")
			}
			x.lost[k] = true
			x.losses++
		},
		Released: func(ctx context.Context, k *redigolock.Lock, held time.Duration, err error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.read("Released", err)
			w, _ := of(ctx)
			w.err, w.ends = err, w.ends+1
		},
	}
}

// call makes the ctx of a call, which ends at some time.
func (x *observed) call(verb string, most time.Duration) (context.Context, *watched, context.CancelFunc) {
	w := &watched{verb: verb}
	ctx, cancel := context.WithTimeout(context.WithValue(bg, watchedKey{}, w), rand.N(most))
	return ctx, w, cancel
}

// acquired checks what was told of a call that was to obtain a lock.
func (x *observed) acquired(w *watched, k *redigolock.Lock, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case !w.begun && w.ends == 0 && k == nil && err != nil: // its ctx had ended before
	case !w.begun || w.ends != 1 || w.lock != k || w.err != err || w.late != "":
		x.t.Errorf("%s returned %v, %v, and was told %+v", w.verb, k != nil, err, *w)
	}
	if k != nil {
		x.held[k] = true
	}
}

func (x *observed) use(k *redigolock.Lock, verb string, f func(ctx context.Context) error) {
	ctx, w, cancel := x.call(verb, 3*time.Second)
	defer cancel()
	err := f(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	before := w.told // of tries whose connection broke, and that were made again on another
	var last error
	if n := len(w.told); n > 0 && err != nil {
		before, last = w.told[:n-1], w.told[n-1]
	}
	for _, e := range before {
		wants(x.t, e, redigolock.ErrUnknown)
	}
	silent := errors.Is(err, redigolock.ErrNotHeld) && last == nil // nothing is sent for a handle that is over
	if last != err && !silent || len(before) > 1 || verb == "extend" && (w.extended == 1) != (err == nil) {
		x.t.Errorf("%s returned %v, and was told %+v", verb, err, *w)
	}
}

func (x *observed) release(k *redigolock.Lock) {
	ctx, w, cancel := x.call("release", 2*time.Second)
	defer cancel()
	x.mu.Lock()
	first := x.held[k]
	delete(x.held, k)
	x.mu.Unlock()
	err := k.Release(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	found := slices.ContainsFunc(w.told, func(e error) bool { return errors.Is(e, redigolock.ErrNotHeld) })
	if first && (w.ends != 1 || w.err != err) || !first && w.ends != 0 || err == nil && found {
		x.t.Errorf("release returned %v, and was told %+v", err, *w)
	}
}

// live does random things with random keys until the time is over.
func (x *observed) live(l *redigolock.Locker, until time.Time) {
	for time.Now().Before(until) {
		key, ttl := fmt.Sprint("key", rand.N(3)), time.Duration(50+rand.N(3000))*time.Millisecond
		verb := []string{"try acquire", "acquire", "acquire", "attach"}[rand.N(4)]
		ctx, w, cancel := x.call(verb, 4*time.Second)
		var k *redigolock.Lock
		var err error
		switch verb {
		case "try acquire":
			k, err = l.TryAcquire(ctx, key, ttl)
		case "acquire":
			k, err = l.Acquire(ctx, key, ttl)
		case "attach":
			token := "some token"
			x.mu.Lock()
			for other := range x.held {
				key, token = other.Key(), other.Token()
				break
			}
			x.mu.Unlock()
			k, err = l.Attach(ctx, key, token, ttl)
		}
		x.acquired(w, k, err)
		cancel()
		if k != nil {
			x.hold(k, ttl)
		}
		time.Sleep(rand.N(200 * time.Millisecond))
	}
}

func (x *observed) hold(k *redigolock.Lock, ttl time.Duration) {
	if rand.N(2) == 0 {
		ctx, _, cancel := x.call("keep alive", 20*time.Second)
		defer cancel()
		k.KeepAlive(ctx)
	}
	for range rand.N(4) {
		switch rand.N(3) {
		case 0:
			x.use(k, "verify", k.Verify)
		case 1:
			x.use(k, "extend", func(ctx context.Context) error { return k.Extend(ctx, ttl) })
		case 2:
			x.use(k, "fence", func(ctx context.Context) error { _, err := k.Fence(ctx); return err })
		}
		time.Sleep(rand.N(2 * ttl))
	}
	if rand.N(8) > 0 { // else it is left to expire
		x.release(k)
	}
}

// disturb sets random faults until the time is over.
func disturb(s *sim.Server, link *sim.Link, until time.Time) {
	s.Rule(func(sim.Request) sim.Action {
		switch rand.N(40) {
		case 0:
			return sim.Cut()
		case 1:
			return sim.Drop()
		case 2:
			return sim.Swallow()
		case 3:
			return sim.Late(rand.N(3 * time.Second))
		case 4:
			return sim.Slow(rand.N(3 * time.Second))
		case 5:
			return sim.Refuse([]string{"READONLY You can't write", "LOADING Redis is loading", "NOPERM no", "OOM command not allowed"}[rand.N(4)])
		case 6:
			return sim.RefuseAndEnd("ERR max number of clients reached")
		}
		return sim.Pass()
	})
	for time.Now().Before(until) {
		time.Sleep(rand.N(2 * time.Second))
		switch rand.N(5) {
		case 0:
			link.Cut()
		case 1:
			accept := link.RefuseDials()
			link.Cut()
			time.Sleep(rand.N(2 * time.Second))
			accept()
		case 2:
			heal := link.BlackHole(sim.ToServer, sim.ToClient)
			time.Sleep(rand.N(2 * time.Second))
			heal()
		case 3:
			_, _ = s.Do("DEL", fmt.Sprint("key", rand.N(3)))
		}
	}
	s.Rule(nil)
}

// Whatever happens, each beginning has exactly one end, which is what the call returns, each command that did not succeed is
// told once, and Stats counts what there is.
func TestObserverIsToldOneEndForEachBeginning(t *testing.T) {
	kinds := map[string]func(p redigolock.Pool) *redigolock.Locker{
		"plain": func(p redigolock.Pool) *redigolock.Locker { return &redigolock.Locker{Pool: p} },
		"script": func(p redigolock.Pool) *redigolock.Locker {
			return &redigolock.Locker{Pool: p, AcquireWith: redigolock.SetNXScript}
		},
		"setnx": func(p redigolock.Pool) *redigolock.Locker {
			return &redigolock.Locker{Pool: p, AcquireWith: redigolock.SetNX}
		},
		"fair": func(p redigolock.Pool) *redigolock.Locker { return &redigolock.Locker{Pool: p, Fair: true} },
		"cohort": func(p redigolock.Pool) *redigolock.Locker {
			return &redigolock.Locker{Pool: p, Fair: true, Cohort: redigolock.Cohort{Passes: 3, Slice: time.Second}}
		},
		"mux": func(p redigolock.Pool) *redigolock.Locker { return &redigolock.Locker{Pool: &redigolock.Mux{Pool: p}} },
		"fair mux": func(p redigolock.Pool) *redigolock.Locker {
			return &redigolock.Locker{Pool: &redigolock.Mux{Pool: p}, Fair: true}
		},
	}
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			for range testbed.Many(4) {
				inBubble(t, func(t *testing.T, s *sim.Server) { watchKind(t, s, make) })
			}
		})
	}
}

func watchKind(t *testing.T, s *sim.Server, locker func(redigolock.Pool) *redigolock.Locker) {
	x := &observed{t: t, lost: map[*redigolock.Lock]bool{}, held: map[*redigolock.Lock]bool{}}
	s.Delay(time.Millisecond)
	l := simLocker(t, locker(simPool(t, s, "redis")))
	l.OpTimeout, l.Observer = 500*time.Millisecond, x.observer()
	until := time.Now().Add(20 * time.Second)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { x.live(l, until) })
	}
	all.Go(func() { disturb(s, s.Link, until) })
	for time.Now().Before(until) {
		time.Sleep(rand.N(time.Second))
		synctest.Wait()
		x.count(l)
	}
	all.Wait()
	time.Sleep(time.Minute) // what is left expires, and is cleaned up
	if st := l.Stats(); st != (redigolock.Stats{}) {
		t.Errorf("at the end Stats are %+v", st)
	}
	_ = l.Close()
	if m, ok := l.Pool.(*redigolock.Mux); ok {
		_ = m.Close()
	}
	if x.calls < 20 || x.failed+x.unknown == 0 {
		t.Errorf("too little has happened: %d calls, %d failed, %d unknown", x.calls, x.failed, x.unknown)
	}
	t.Logf("calls %d, gave up %d, lost %d, failed %d, unknown %d, clean-ups %d", x.calls, x.gaveUp, x.losses, x.failed, x.unknown, x.cleanUps)
}

// count compares Stats with the handles that there are. Nothing runs meanwhile.
func (x *observed) count(l *redigolock.Locker) {
	x.mu.Lock()
	defer x.mu.Unlock()
	held := 0
	for k := range x.held {
		if redigolock.Usable(k) && !x.lost[k] {
			held++
		}
	}
	if got := l.Stats().Held; got != held {
		x.t.Errorf("Stats says that %d locks are held, %d are", got, held)
	}
}
