package redigolock_test

import (
	"context"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// An answer that the channel is not heard, given before it was subscribed to anew, is no reason to hang up once more.
func TestFairOldNoSubDoesNotEndTheNewSubscription(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = 20 * time.Second
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	waiter := waits(bg, r.locker, r.key, time.Minute)
	r.queued(1)
	subscribe, answer, poked := make(chan struct{}), make(chan struct{}), make(chan struct{})
	held := false
	subscribed := len(r.sent("subscribe"))
	r.rule(func(verb string, n int) redistest.Action {
		switch {
		case verb == "subscribe" && n == 1:
			return redistest.Late(subscribe)
		case verb == "poke" && !held && len(r.heard()) == 0:
			held = true
			close(poked)
			return redistest.Hold(answer)
		}
		return redistest.Pass()
	})
	before, err := r.server.Calls()
	r.ok(err)
	r.do("CLIENT", "KILL", "TYPE", "pubsub")
	<-poked
	eventually(t, "it is carried out", func() bool {
		calls, err := r.server.Calls()
		return err == nil && calls["lpos"] > before["lpos"]
	})
	close(subscribe)
	eventually(t, "it is heard again", func() bool { return len(r.heard()) == 1 })
	close(answer)
	pokes := len(r.sent("poke"))
	eventually(t, "two more POKEs", func() bool { return len(r.sent("poke")) > pokes+1 }) // the first may come before a redial
	if n := len(r.sent("subscribe")) - subscribed; n != 1 {
		t.Errorf("SUBSCRIBE was sent %d times", n)
	}
	r.ok(k.Release(bg))
	r.ok(r.got("the waiter", waiter).Release(bg))
}

// A SUBSCRIBE that is answered only when its channel was left and is wanted again says nothing of the new one; and the answer
// to the UNSUBSCRIBE between them does not end the subscription, which would cost this Locker all its places in all queues.
func TestFairLateAnswersOfASubscriptionDoNotEndIt(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute // or the subscription would be made anew for its silence
	other := r.other()
	k, rare := r.must(other.Acquire(bg, r.key, time.Minute)), r.must(other.Acquire(bg, "rare", time.Minute))
	waiter := waits(bg, r.locker, r.key, time.Minute)
	r.queued(1)
	answer := make(chan struct{})
	came := r.once("subscribe", 1, redistest.Hold(answer))
	ctx, cancel := context.WithCancel(bg)
	gone := waits(ctx, r.locker, "rare", time.Minute)
	<-came
	cancel()
	wants(t, receive(t, "it gives up", gone).err, context.Canceled)
	eventually(t, "the channel is left", func() bool { return len(r.sent("unsubscribe")) == 1 })
	second := waits(bg, r.locker, "rare", time.Minute)
	eventually(t, "it is wanted again", func() bool { return len(r.sent("subscribe")) == 3 })
	close(answer)
	eventually(t, "its entry is queued", func() bool { return redigolock.Placed(r.locker, "rare") })
	if n := len(r.sent("subscribe")); n != 3 || len(r.heard()) != 2 {
		t.Errorf("SUBSCRIBE was sent %d times, %d channels are heard", n, len(r.heard()))
	}
	r.ok(k.Release(bg))
	r.ok(r.got("the waiter", waiter).Release(bg))
	r.ok(rare.Release(bg))
	r.ok(r.got("the second waiter of the other key", second).Release(bg))
	r.gone()
}

// heard are the channels that are heard at the server.
func (r *fairRig) heard() []any {
	channels, _ := r.server.Do("PUBSUB", "CHANNELS")
	list, _ := channels.([]any)
	return list
}
