package redigolock_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// What a fair Locker remembers of keys goes when their leases are over, however many they are and whenever they end: also after
// it once had nothing to remember, and where a lease ends before those that were looked for.
func TestFairForgetsWhateverEnds(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		hold := func(n int, ttl time.Duration) {
			for i := range n {
				mustGet(t)(l.TryAcquire(bg, fmt.Sprint(ttl, i), ttl))
			}
		}
		slots := func(when string, want int) {
			if n := redigolock.FairSlots(l); n != want {
				t.Errorf("%s: %d slots, want %d", when, n, want)
			}
		}
		hold(300, 3*time.Second)
		time.Sleep(6 * time.Second)
		slots("all at one time", 0)
		time.Sleep(10 * time.Second)
		hold(10, 4*time.Second)
		time.Sleep(7 * time.Second)
		slots("after there were none", 0)
		hold(10, time.Hour)
		hold(10, 5*time.Second)
		time.Sleep(8 * time.Second)
		slots("before those that were looked for", 10)
		time.Sleep(time.Hour)
		slots("the last", 0)
	})
}

// Waiters that come and go while no subscription can be had leave nothing behind.
func TestFairForgetsWhatItCouldNotSubscribeTo(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		other, l := simFair(t, s), simFair(t, s)
		mustGet(t)(l.TryAcquire(bg, "its connection stays in the pool", time.Second))
		accept := func() {}
		for i := range 20 {
			key := fmt.Sprint(i)
			mustGet(t)(other.TryAcquire(bg, key, time.Hour))
			accept()
			accept = s.RefuseDials()
			ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
			if _, err := l.Acquire(ctx, key, time.Second); err == nil {
				t.Fatal("it has a lock that another holds")
			}
			cancel()
		}
		time.Sleep(time.Minute)
		if n := redigolock.FairJoining(l); n != 0 || redigolock.Subscribed(l) {
			t.Errorf("%d slots are to be subscribed to, although nobody waits; it is subscribed: %v", n, redigolock.Subscribed(l))
		}
	})
}

// A waiter whose goroutine ends in the user's code, while the lock is granted to it, leaves the lock to nobody: it is released,
// counts no longer, and the next waiter of the same Locker gets it at once.
func TestFairGrantToAWaiterThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, time.Hour))
		granted := make(chan struct{})
		var told atomic.Bool
		r.Locker.Observer = &redigolock.Observer{Contended: func(context.Context, string, *redigolock.HeldError) {
			if told.CompareAndSwap(false, true) { // that of TRY, on the waiter's goroutine
				<-granted
				panic("mine")
			}
		}}
		fell := inBackground(func() (p any) {
			defer func() { p = recover() }()
			_, err := r.Locker.Acquire(bg, r.key, time.Hour)
			return err
		})
		r.queued(1)
		r.OK(k.Release(bg))
		time.Sleep(100 * time.Millisecond)
		close(granted)
		if p := receive(t, "it panics", fell); p != "mine" {
			t.Fatalf("Acquire ended with %v", p)
		}
		if n := r.Locker.Stats().Held; n != 0 {
			t.Errorf("%d locks count as held", n)
		}
		begin := time.Now()
		k = r.got("the next", waits(bg, r.Locker, r.key, time.Hour))
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.gone()
	})
}
