package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

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
			for range 4 {
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
