package redigolock_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// An answer that the channel is not heard, given before it was subscribed to anew, is no reason to hang up once more.
func TestFairOldNoSubDoesNotEndTheNewSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = 20 * time.Second
		k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
		waiter := waits(bg, r.Locker, r.key, time.Minute)
		r.queued(1)
		subscribe, answer, poked := make(chan struct{}), make(chan struct{}), make(chan struct{})
		held := false
		subscribed := len(r.Sent("subscribe"))
		r.Rule(func(verb string, n int) redistest.Action {
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
		before := r.CarriedOut("poke")
		r.Do("CLIENT", "KILL", "TYPE", "pubsub")
		<-poked
		eventually(t, "it is carried out", func() bool { return r.CarriedOut("poke") > before })
		close(subscribe)
		eventually(t, "it is heard again", func() bool { return len(r.heard()) == 1 })
		close(answer)
		pokes := len(r.Sent("poke"))
		eventually(t, "two more POKEs", func() bool { return len(r.Sent("poke")) > pokes+1 }) // the first may come before a redial
		if n := len(r.Sent("subscribe")) - subscribed; n != 1 {
			t.Errorf("SUBSCRIBE was sent %d times", n)
		}
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
	})
}

// A channel is left in the moment in which nobody needs it any more, while the subscription goes on for another key.
func TestFairChannelIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		other := r.other()
		k := r.Must(other.Acquire(bg, r.key, time.Minute))
		waiter := waits(bg, r.Locker, r.key, time.Minute)
		r.queued(1)
		soonest := time.Hour
		for n := range 3 { // one may be stalled
			rare := r.Must(other.Acquire(bg, "rare", time.Minute))
			served := waits(bg, r.Locker, "rare", time.Minute)
			eventually(t, "it waits", func() bool { return redigolock.Placed(r.Locker, "rare") })
			r.OK(rare.Release(bg))
			r.OK(r.got("the waiter of the other key", served).Release(bg))
			eventually(t, "its slot goes", func() bool { return redigolock.FairSlots(r.Locker) == 1 })
			begin := time.Now()
			eventually(t, "its channel is left", func() bool { return len(r.Sent("unsubscribe")) == n+1 })
			soonest = min(soonest, time.Since(begin))
		}
		if soonest > 700*time.Millisecond { // the next ping is a second away
			t.Errorf("it took %v", soonest)
		}
		eventually(t, "one channel is heard", func() bool { return len(r.heard()) == 1 })
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		r.gone()
	})
}

// Each answer of a SUBSCRIBE, an UNSUBSCRIBE and another SUBSCRIBE of the same channel may come late. Only that of the last
// one says that the channel is heard: before it nothing may be queued, and none of them ends the subscription.
func TestFairLateAnswersOfASubscriptionAreToldApart(t *testing.T) {
	for name, early := range map[string]int{ // so many answers come before the second SUBSCRIBE is sent
		"all in flight": 0, "the first answered": 1, "both answered": 2,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				var answer [3]chan struct{}
				for i := range answer {
					answer[i] = make(chan struct{})
				}
				l := newLateLine(r, func(verb string, n int) redistest.Action {
					switch verb {
					case "subscribe":
						return redistest.Hold(answer[2*(n-1)])
					case "unsubscribe":
						return redistest.Hold(answer[1])
					}
					return redistest.Pass()
				})
				l.leave()
				for _, a := range answer[:early] {
					close(a)
				}
				l.comeBack()
				r.sendsNone("before the last answer", func() {
					for _, a := range answer[early:2] {
						close(a)
					}
				}, "enter", "subscribe")
				close(answer[2])
				l.served()
			})
		})
	}
}

// The same of a SUBSCRIBE that was refused: it was another's matter.
func TestFairLateRefusalOfASubscriptionIsToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		release, held := make(chan struct{}), make(chan struct{})
		once := sync.OnceFunc(func() { close(held) })
		l := newLateLine(r, func(verb string, n int) redistest.Action {
			switch {
			case verb == "ping" && n == 1:
				once()
				return redistest.Hold(release)
			case verb == "subscribe" && n == 1:
				return redistest.Reply("-NOPERM No permissions to access a channel\r\n")
			}
			return redistest.Pass()
		})
		<-held
		l.leave()
		l.comeBack()
		close(release)
		l.served()
	})
}

// A lateLine is the subscription of the rig's Locker, which waits for the rig's key, while it comes and goes as a waiter of
// another key.
type lateLine struct {
	*fairRig
	k, rare        *redigolock.Lock
	waiter, second <-chan acquired
}

func newLateLine(r *fairRig, rule func(verb string, n int) redistest.Action) *lateLine {
	r.T.Helper()
	r.Locker.OpTimeout = time.Minute // or the subscription would be made anew for its silence
	other := r.other()
	l := &lateLine{fairRig: r, k: r.Must(other.Acquire(bg, r.key, time.Minute)), rare: r.Must(other.Acquire(bg, "rare", time.Minute))}
	l.waiter = waits(bg, r.Locker, r.key, time.Minute)
	r.queued(1)
	r.Rule(rule)
	return l
}

// leave has the other key waited for, and given up until its channel is left.
func (l *lateLine) leave() {
	l.T.Helper()
	ctx, cancel := context.WithCancel(bg)
	gone := waits(ctx, l.Locker, "rare", time.Minute)
	eventually(l.T, "it subscribes", func() bool { return len(l.Sent("subscribe")) == 2 })
	cancel()
	wants(l.T, receive(l.T, "it gives up", gone).err, context.Canceled)
	eventually(l.T, "the channel is left", func() bool { return len(l.Sent("unsubscribe")) == 1 })
}

// comeBack has the other key waited for once more.
func (l *lateLine) comeBack() {
	l.T.Helper()
	l.second = waits(bg, l.Locker, "rare", time.Minute)
	eventually(l.T, "it is wanted again", func() bool { return len(l.Sent("subscribe")) == 3 })
}

// served checks that the other key's waiter is queued by the same subscription, and that all get their locks.
func (l *lateLine) served() {
	l.T.Helper()
	eventually(l.T, "its entry is queued", func() bool { return redigolock.Placed(l.Locker, "rare") })
	if n := len(l.Sent("subscribe")); n != 3 || len(l.heard()) != 2 {
		l.T.Errorf("SUBSCRIBE was sent %d times, %d channels are heard", n, len(l.heard()))
	}
	l.OK(l.k.Release(bg))
	l.OK(l.got("the waiter", l.waiter).Release(bg))
	l.OK(l.rare.Release(bg))
	l.OK(l.got("the second waiter of the other key", l.second).Release(bg))
	l.gone()
}

// heard are the channels that are heard at the server.
func (r *fairRig) heard() []any {
	channels, _ := r.Server.Do("PUBSUB", "CHANNELS")
	list, _ := channels.([]any)
	return list
}

// One connection hears the channels of all keys, and it is not the pool's.
func TestFairOneSubscriptionForAllKeysBesideThePool(t *testing.T) {
	// On a real server, which lists its clients.
	const keys = 20
	r := newFairRig(t)
	pool := r.Server.Pool()
	l, other := r.fair(pool), r.other()
	var held []*redigolock.Lock
	var waiters []<-chan acquired
	for i := range keys {
		key := fmt.Sprint("key ", i)
		held = append(held, r.Must(other.Acquire(bg, key, time.Minute)))
		waiters = append(waiters, waits(bg, l, key, time.Minute))
	}
	eventually(t, "all wait", func() bool {
		for i := range keys {
			if !redigolock.Placed(l, fmt.Sprint("key ", i)) {
				return false
			}
		}
		return true
	})
	eventually(t, "no connection of the pool is in use", func() bool { return pool.ActiveCount() == pool.IdleCount() })
	list, err := redis.String(r.Server.Do("CLIENT", "LIST", "TYPE", "pubsub"))
	r.OK(err)
	if n := strings.Count(list, "\n"); n != 1 || len(r.heard()) != keys {
		t.Errorf("%d connections hear %d channels", n, len(r.heard()))
	}
	for i, k := range held {
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiters[i]).Release(bg))
	}
	r.gone()
}
