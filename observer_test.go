package redigolock_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
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
		Acquired: func(key string, waited time.Duration) { l.add("acquired "+key, waited, nil) },
		Contended: func(key string, held *redigolock.HeldError) {
			l.add("contended "+key+" by "+held.Holder, held.TTL, held)
		},
		Extended: func(key string, left time.Duration) { l.add("extended "+key, left, nil) },
		Lost:     func(key string, cause error) { l.add("lost "+key, 0, cause) },
		Released: func(key string, held time.Duration, err error) { l.add("released "+key, held, err) },
		Unknown:  func(key, verb string, err error) { l.add(fmt.Sprintf("unknown %s %s", key, verb), 0, err) },
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
	r := newRig(t)
	log := &eventLog{}
	r.locker.Observer, r.locker.Owner, r.locker.AcquireWith = log.observer(), "me", redigolock.SetNXScript
	c := stopClock(r.locker)
	k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
	if waited, _ := log.told(t, "acquired key"); waited != 0 {
		t.Errorf("waited %v by a clock that stands still", waited)
	}

	_, err := r.locker.TryAcquire(bg, "key", time.Minute)
	wants(t, err, redigolock.ErrHeld)
	events, times, errs := log.take()
	if len(events) != 1 || !strings.HasPrefix(events[0], "contended key by me#") {
		t.Errorf("told %q", events)
	} else if times[0] < 30*time.Second || times[0] > time.Minute {
		t.Errorf("the holder has %v of a minute", times[0])
	} else {
		wants(t, errs[0], redigolock.ErrHeld)
	}
	if strings.Contains(fmt.Sprint(events, errs), k.Token()) {
		t.Error("the observer is told the whole token")
	}

	r.ok(k.Verify(bg))
	r.ok(k.Extend(bg, time.Hour))
	if left, _ := log.told(t, "extended key"); left != time.Hour {
		t.Errorf("left %v of an hour", left)
	}
	c.add(10 * time.Second)
	r.ok(k.Release(bg))
	if held, err := log.told(t, "released key"); held != 10*time.Second || err != nil {
		t.Errorf("held %v, error %v", held, err)
	}
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
	log.told(t) // a second Release releases nothing
}

func TestObserverIsToldHowLongAnAcquireWaited(t *testing.T) {
	r := newRig(t)
	log := &eventLog{}
	r.locker.Observer = log.observer()
	c := stopClock(r.locker)
	r.do("SET", "key", "another's", "PX", 60000)
	r.locker.Retry = func(attempt int, _ time.Duration) time.Duration {
		c.add(5 * time.Second)
		if attempt == 2 {
			r.do("DEL", "key")
		}
		return 0
	}
	r.must(r.locker.Acquire(bg, "key", time.Minute))
	events, times, _ := log.take()
	if len(events) != 3 || !strings.HasPrefix(events[0], "contended key") || !strings.HasPrefix(events[1], "contended key") {
		t.Fatalf("told %q", events)
	}
	if events[2] != "acquired key" || times[2] != 10*time.Second {
		t.Errorf("%s after %v", events[2], times[2])
	}
}

func TestObserverIsToldOfALossOnce(t *testing.T) {
	r := newRig(t)
	log := &eventLog{}
	r.locker.Observer = log.observer()
	k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
	kept, second := k.KeepAlive(bg), k.KeepAlive(bg)
	r.do("DEL", "key")
	log.take()
	wants(t, k.Verify(bg), redigolock.ErrNotHeld)
	wants(t, k.Verify(bg), redigolock.ErrNotHeld)
	receive(t, "the context ends", kept.Done())
	receive(t, "the context ends", second.Done())
	_, cause := log.told(t, "lost key")
	wants(t, cause, redigolock.ErrLost, redigolock.ErrNotHeld)
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
	_, err := log.told(t, "released key")
	wants(t, err, redigolock.ErrNotHeld)
}

func TestObserverIsToldOfEveryUnknownOutcome(t *testing.T) {
	r := newRig(t)
	log := &eventLog{}
	r.locker.Observer, r.locker.OpTimeout = log.observer(), time.Second
	drop := []redistest.Action{redistest.Drop()}
	r.plan(map[string][]redistest.Action{"set": drop, "verify": drop, "extend": nil, "fence": drop, "release": {drop[0], drop[0]}})
	k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
	_, _, errs := log.take()
	wants(t, errs[0], redigolock.ErrUnknown)
	wants(t, k.Verify(bg), redigolock.ErrUnknown)
	_, err := log.told(t, "unknown key verify")
	wants(t, err, redigolock.ErrUnknown)
	_, err = k.Fence(bg)
	wants(t, err, redigolock.ErrUnknown)
	log.told(t, "unknown key fence")
	r.plan(map[string][]redistest.Action{"extend": drop, "release": {drop[0], drop[0]}})
	wants(t, k.Extend(bg, time.Minute), redigolock.ErrUnknown)
	log.told(t, "unknown key extend")
	wants(t, k.Release(bg), redigolock.ErrUnknown)
	_, err = log.told(t, "unknown key release", "unknown key release", "released key")
	wants(t, err, redigolock.ErrUnknown)
}

func TestObserverIsToldOfRenewals(t *testing.T) {
	r := newRig(t)
	log := &eventLog{}
	r.locker.Observer = log.observer()
	k := r.dueAtOnce(r.locker, "key")[0]
	k.KeepAlive(bg)
	eventually(t, "a renewal", func() bool { return len(r.sent("extend")) > 0 })
	r.ok(k.Release(bg))
	if events, times, _ := log.take(); events[0] == "extended key" && times[0] != 5*time.Minute {
		t.Errorf("left %v", times[0])
	}
}

func TestObserverAndItsFuncsMayBeNil(t *testing.T) {
	for name, o := range map[string]*redigolock.Observer{"nil": nil, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.locker.Observer = o
			k := r.must(r.locker.TryAcquire(bg, "key", time.Minute))
			_, err := r.locker.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrHeld)
			kept := k.KeepAlive(bg)
			r.ok(k.Extend(bg, time.Minute))
			r.plan(map[string][]redistest.Action{"verify": {redistest.Drop()}})
			wants(t, k.Verify(bg), redigolock.ErrUnknown)
			r.do("DEL", "key")
			wants(t, k.Verify(bg), redigolock.ErrNotHeld)
			receive(t, "the context ends", kept.Done())
			wants(t, k.Release(bg), redigolock.ErrNotHeld)
		})
	}
}
