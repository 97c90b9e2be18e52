package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// What gives up while its command is unanswered says so, and leaves nothing behind.
func TestFairGiveUpWhileACommandIsInFlight(t *testing.T) {
	for _, verb := range []string{"try", "enter"} {
		for name, fault := range fairFaults {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newSimFairRig(t)
					r.Locker.OpTimeout = shortOp
					holder := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
					if verb == "try" {
						r.OK(holder.Release(bg))
					}
					act, later := fault()
					came := r.once(verb, 1, act)
					ctx, cancel := context.WithCancel(bg)
					waiter := waits(ctx, r.Locker, r.key, fairTestTTL)
					<-came
					cancel()
					if a := receive(t, "the waiter returns", waiter); a.err == nil {
						r.OK(a.k.Release(bg))
					} else {
						wants(t, a.err, context.Canceled)
					}
					later()
					if verb == "enter" {
						eventually(t, "the entry has gone", func() bool { return len(r.entries()) == 0 })
						r.valid(holder)
						r.OK(holder.Release(bg))
					}
					r.gone()
				})
			})
		}
	}
}

// Tokens that were given up and are in the lock all the same, since a command was carried out late, are released by whoever
// of the same Locker sees them.
func TestFairLateCommandOfADeadToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		waiter := waits(ctx, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		entry := r.entries()[0]
		cancel()
		if a := receive(t, "the waiter gives up", waiter); a.err == nil {
			t.Fatal("it got the lock")
		}
		r.queued(0)
		r.Do("RPUSH", r.queue, entry) // as its ENTER would, if it came only now
		r.OK(k.Release(bg))
		r.gone() // by its message
		dead := entry[len(entry)-36:]
		r.Do("SET", r.key, dead, "PX", 60000) // as its TRY would
		begin := time.Now()
		k = r.got("a new waiter", waits(bg, r.Locker, r.key, fairTestTTL))
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.gone()
	})
}

// Nothing is queued while a QUIT is unanswered: the process would stand in the queue twice.
func TestFairNothingIsQueuedDuringQuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		release := make(chan struct{})
		came := r.once("quit", 1, redistest.Late(release))
		cancel()
		if a := receive(t, "it gives up", first); a.err == nil {
			t.Fatal("it got the lock")
		}
		<-came
		var waiter <-chan acquired
		r.sendsNone("during QUIT", func() {
			waiter = waits(bg, r.Locker, r.key, fairTestTTL)
			eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 1 })
		}, "enter", "try")
		close(release)
		r.queued(1)
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		r.gone()
	})
}

// A grant that nobody wants any more is passed on.
func TestFairGrantForNobodyIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		release := make(chan struct{})
		defer close(release)
		r.once("enter", 1, redistest.Hold(release))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.key, time.Minute)
		r.queued(1)
		behind := waits(bg, r.other(), r.key, fairTestTTL)
		r.queued(2)
		cancel()
		a := receive(t, "it gives up", first)
		wants(t, a.err, context.Canceled, redigolock.ErrUnknown) // its ENTER is not answered
		r.OK(k.Release(bg))
		r.OK(r.got("the one behind", behind).Release(bg))
		r.gone()
	})
}

// A QUIT is not abandoned: the entry goes while somebody else holds the lock.
func TestFairQuitIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "quit" && n <= 3 {
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		cancel()
		if a := receive(t, "it gives up", first); a.err == nil {
			t.Fatal("it got the lock")
		}
		r.queued(0)
		r.OK(k.Release(bg))
		r.gone()
	})
}

// sendsNone checks that f, and the tenth of a second after it, sends none of these verbs.
func (r *fairRig) sendsNone(when string, f func(), verbs ...string) {
	r.T.Helper()
	before := map[string]int{}
	for _, verb := range verbs {
		before[verb] = len(r.Sent(verb))
	}
	f()
	begin := time.Now()
	eventually(r.T, "some time passes", func() bool { return time.Since(begin) > 100*time.Millisecond })
	for _, verb := range verbs {
		if n := len(r.Sent(verb)) - before[verb]; n != 0 {
			r.T.Errorf("%s: %s was sent", when, verb)
		}
	}
}

// QUIT waits for the ENTER that it is to undo: overtaking it, it would leave the entry behind.
func TestFairQuitDoesNotOvertakeItsEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		release := make(chan struct{})
		came := r.once("enter", 1, redistest.Late(release))
		ctx, cancel := context.WithCancel(bg)
		waiter := waits(ctx, r.Locker, r.key, fairTestTTL)
		<-came
		r.sendsNone("with ENTER on its way", func() {
			cancel()
			wants(t, receive(t, "it gives up", waiter).err, context.Canceled, redigolock.ErrUnknown)
		}, "quit")
		close(release)
		eventually(t, "QUIT", func() bool { return len(r.Sent("quit")) == 1 })
		r.queued(0)
		r.OK(k.Release(bg))
		r.gone()
	})
}

// A slot goes when it cannot be needed any more, also if nobody ever uses its key again, or any other.
func TestFairSlotsThatNobodyUsesAgainGo(t *testing.T) {
	const ttl = time.Second
	for name, use := range map[string]func(r *fairRig){
		"a holder that does not release": func(r *fairRig) { r.Must(r.Locker.TryAcquire(bg, r.key, ttl)) },
		"a try that was not answered": func(r *fairRig) { // its token is remembered
			r.Locker.OpTimeout = shortOp
			came := r.once("try", 1, redistest.Drop())
			ctx, cancel := context.WithCancel(bg)
			gaveUp := inBackground(func() error {
				_, err := r.Locker.TryAcquire(ctx, r.key, ttl)
				return err
			})
			receive(r.T, "it is sent", came)
			cancel()
			wants(r.T, receive(r.T, "it gives up", gaveUp), context.Canceled, redigolock.ErrUnknown)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				use(r)
				eventually(t, "the slot goes", func() bool { return redigolock.FairSlots(r.Locker) == 0 })
			})
		})
	}
}
