package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
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
		k := got(t)(l.Acquire(valueContext{bg, nil}, "key", time.Minute))
		if err := k.Release(valueContext{bg, nil}); err != nil {
			t.Error(err)
		}
	})
}
