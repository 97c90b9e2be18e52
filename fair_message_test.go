package redigolock_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A message may come before the reply to the command that queued its token. Nobody may take that late reply for news.
func TestFairMessageOvertakesTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		release := make(chan struct{})
		r.once("enter", 1, redistest.Hold(release))
		waiter := waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		r.OK(k.Release(bg))
		k = r.got("the waiter, by the message alone", waiter)
		behind := waits(bg, r.Locker, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 1 })
		close(release)
		other := waits(bg, r.other(), r.key, fairTestTTL)
		r.queued(1)
		r.valid(k)
		r.OK(k.Verify(bg))
		r.OK(k.Release(bg))
		k = r.got("the other Locker", other)
		r.OK(k.Release(bg))
		r.OK(r.got("the one behind", behind).Release(bg))
		r.gone()
	})
}

// A waiter that may ask at once, since there is a subscription, gets the lock by the message all the same.
func TestFairMessageOvertakesTheReplyToTheOnlyWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		cancel()
		if a := receive(t, "it gives up", first); a.err == nil {
			t.Fatal("it got the lock")
		}
		r.queued(0)
		eventually(t, "QUIT is answered", func() bool { return redigolock.WaitingEntry(r.Locker, r.key) == "" })
		release := make(chan struct{})
		r.once("enter", 1, redistest.Hold(release))
		waiter := waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		r.OK(k.Release(bg))
		k = r.got("the waiter, by the message alone", waiter)
		close(release)
		r.OK(k.Release(bg))
		r.gone()
	})
}

// messagesHeld lets no message through until the func is called, while the subscription counts as alive.
func (r *fairRig) messagesHeld() (letGo func()) {
	release := make(chan struct{})
	held := make(chan struct{})
	var once atomic.Bool
	r.Proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Name == "PING" && len(q.Args) == 0 && once.CompareAndSwap(false, true) {
			close(held)
			return redistest.Hold(release)
		}
		return redistest.Pass()
	})
	<-held
	return func() { close(release) }
}

// A message that is lost costs no more than a poke: the lock is found with what the server says is left of it.
func TestFairLostMessageIsFoundByAPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = 20 * time.Second // or the line would be cut for its silence
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		letGo := r.messagesHeld()
		r.OK(k.Release(bg))
		begin := time.Now()
		k = r.got("the waiter", waiter)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		letGo() // the message comes, for a token that is held: it must not be released
		r.OK(k.Extend(bg, 2*fairTestTTL))
		behind := waits(bg, r.Locker, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 1 })
		r.valid(k)
		r.OK(k.Release(bg))
		r.OK(r.got("the one behind", behind).Release(bg))
		r.gone()
	})
}

// A message counts from the last send that the server answered, never from its arrival, nor from a poke that is unanswered.
func TestFairMessageValidityCountsFromAnAnsweredSend(t *testing.T) {
	const ttl = 8 * time.Second // it has waited for less than half of it when the lock is released, or would be refreshed
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		release := make(chan struct{})
		defer close(release)
		before := time.Now()
		poked := r.once("poke", 1, redistest.Late(release)) // never carried out
		waiter := waits(bg, r.Locker, r.key, ttl)
		r.queued(1)
		after := time.Now()
		<-poked
		r.OK(k.Release(bg))
		k = r.got("the waiter", waiter)
		if late := k.Deadline().Sub(after.Add(validFor(ttl))); late > 0 {
			t.Errorf("Deadline is %v later than the answered send allows", late)
		} else if early := before.Add(validFor(ttl)).Sub(k.Deadline()); early > 0 {
			t.Errorf("Deadline is %v too early", early)
		}
		r.Proxy.Rule(nil)
	})
}

// A token that waited for longer than half of its ttl is refreshed before it is handed out.
func TestFairLongWaitIsRefreshed(t *testing.T) {
	t.Parallel() // mostly it waits
	const ttl = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.key, ttl)
		r.queued(1)
		enter := time.Now()
		eventually(t, "half of the ttl is over", func() bool { return time.Since(enter) > ttl*2/3 })
		r.OK(k.Release(bg))
		k = r.got("the waiter", waiter)
		if left := time.Until(k.Deadline()); left < ttl/2 {
			t.Errorf("only %v is left", left)
		}
		r.OK(k.Release(bg))
	})
}

// The heir of an entry may have another ttl: the entry's counts, and what it wants is asked for.
func TestFairHeirHasItsOwnTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		for _, tt := range []struct{ first, heir time.Duration }{{4 * time.Second, time.Minute}, {time.Minute, 4 * time.Second}} {
			k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
			ctx, cancel := context.WithCancel(bg)
			first := waits(ctx, r.Locker, r.key, tt.first)
			r.queued(1)
			sent := len(r.Proxy.Requests())
			heir := waits(bg, r.Locker, r.key, tt.heir)
			eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 2 })
			cancel()
			if a := receive(t, "the first gives up", first); a.err == nil {
				t.Fatal("it got the lock")
			}
			r.poked()
			for _, q := range r.Proxy.Requests()[sent:] {
				if verb := verbOf(q); verb != "poke" && verb != "ping" {
					t.Errorf("the heir sent %s", verb)
				}
			}
			r.OK(k.Release(bg))
			k = r.got("the heir", heir)
			if left := time.Until(k.Deadline()); left < tt.heir/2 {
				t.Errorf("the heir with %v has %v left", tt.heir, left)
			}
			r.OK(k.Release(bg))
		}
		r.gone()
	})
}

// What a POKE says is left counts, not the ttl that was asked for.
func TestFairPokeTellsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = 20 * time.Second // or the line would be cut for its silence
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.key, 6*time.Second)
		r.queued(1)
		heir := waits(bg, r.Locker, r.key, time.Second)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 2 })
		cancel()
		if a := receive(t, "the first gives up", first); a.err == nil {
			t.Fatal("it got the lock")
		}
		letGo := r.messagesHeld()
		r.poked() // so that the next one is a second away
		r.OK(k.Release(bg))
		r.OK(r.got("the heir, by a poke", heir).Release(bg))
		letGo()
	})
}

// A message that was lost with the connection is found by the poke that follows the next subscription, not by the timer.
func TestFairResubscriptionIsFollowedByAPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		waiter := waits(bg, r.Locker, r.key, time.Minute)
		r.queued(1)
		least := time.Hour
		for range 5 { // on a busy machine one may take its time; by the timer each would
			r.poked() // so that the timer's is a second away
			begin := time.Now()
			subscribed, n := len(r.Sent("subscribe")), len(r.Sent("poke"))
			r.Do("CLIENT", "KILL", "TYPE", "pubsub")
			eventually(t, "it subscribes again", func() bool { return len(r.Sent("subscribe")) > subscribed })
			eventually(t, "it pokes", func() bool { return len(r.Sent("poke")) > n })
			if least = min(least, time.Since(begin)); least < 900*time.Millisecond {
				break
			}
		}
		if least > 900*time.Millisecond {
			t.Errorf("it took %v at least", least)
		}
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
	})
}

// A token that quits may be granted all the same, by an ENTER that is carried out after the QUIT. The message passes it on,
// before the QUIT is answered.
func TestFairMessageForATokenThatQuits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.key, time.Minute)
		r.queued(1)
		entry := r.entries()[0]
		release := make(chan struct{})
		defer close(release)
		came := r.once("quit", 1, redistest.Hold(release))
		cancel()
		wants(t, receive(t, "it gives up", first).err, context.Canceled)
		<-came
		r.queued(0)
		r.Do("RPUSH", r.queue, entry) // as a late ENTER would
		r.OK(k.Release(bg))
		r.gone()
	})
}

// A "gone" may be older than the message that the token was granted: then one more poke decides.
func TestFairGoneMayBeOlderThanAMessage(t *testing.T) {
	const ttl = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		release := make(chan struct{})
		came := r.once("poke", 1, redistest.Hold(release))
		waiter := waits(bg, r.Locker, r.key, ttl)
		r.queued(1)
		enter := time.Now()
		entry := r.entries()[0]
		r.Do("DEL", r.queue)
		<-came
		eventually(t, "POKE is carried out", func() bool { return r.CarriedOut("poke") > 0 })
		r.Do("RPUSH", r.queue, entry) // as a late ENTER would
		eventually(t, "half of the ttl is over", func() bool { return time.Since(enter) > ttl*2/3 })
		r.OK(k.Release(bg))
		eventually(t, "the message has come", func() bool { return redigolock.PokesAgain(r.Locker, r.key) })
		close(release)
		k = r.got("the waiter", waiter)
		if !strings.HasSuffix(entry, k.Token()) {
			t.Errorf("it has %q, want what was granted to %q", k.Token(), entry)
		}
		r.OK(k.Release(bg))
		r.gone()
	})
}
