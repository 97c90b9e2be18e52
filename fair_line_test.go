package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// An answer that the channel is not heard, given before it was subscribed to anew, is no reason to hang up once more.
func TestFairOldNoSubDoesNotEndTheNewSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = 20 * time.Second
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		waiter := waits(bg, r.Locker, r.Key, time.Minute)
		r.Queued(1)
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
		r.OK(r.Got("the waiter", waiter).Release(bg))
	})
}

// A channel is left in the moment in which nobody needs it any more, while the subscription goes on for another key.
func TestFairChannelIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		other := r.Other()
		k := r.Must(other.Acquire(bg, r.Key, time.Minute))
		waiter := waits(bg, r.Locker, r.Key, time.Minute)
		r.Queued(1)
		soonest := time.Hour
		for n := range 3 { // one may be stalled
			rare := r.Must(other.Acquire(bg, "rare", time.Minute))
			served := waits(bg, r.Locker, "rare", time.Minute)
			eventually(t, "it waits", func() bool { return redigolock.Placed(r.Locker, "rare") })
			r.OK(rare.Release(bg))
			r.OK(r.Got("the waiter of the other key", served).Release(bg))
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
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.Gone()
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
	other := r.Other()
	l := &lateLine{fairRig: r, k: r.Must(other.Acquire(bg, r.Key, time.Minute)), rare: r.Must(other.Acquire(bg, "rare", time.Minute))}
	l.waiter = waits(bg, r.Locker, r.Key, time.Minute)
	r.Queued(1)
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
	wants(l.T, receive(l.T, "it gives up", gone).Err, context.Canceled)
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
	l.OK(l.Got("the waiter", l.waiter).Release(bg))
	l.OK(l.rare.Release(bg))
	l.OK(l.Got("the second waiter of the other key", l.second).Release(bg))
	l.Gone()
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
	l, other := r.Fair(pool), r.Other()
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
		r.OK(r.Got("the waiter", waiters[i]).Release(bg))
	}
	r.Gone()
}

// A message may come before the reply to the command that queued its token. Nobody may take that late reply for news.
func TestFairMessageOvertakesTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		release := make(chan struct{})
		r.Once("enter", 1, redistest.Hold(release))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.OK(k.Release(bg))
		k = r.Got("the waiter, by the message alone", waiter)
		behind := waits(bg, r.Locker, r.Key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 1 })
		close(release)
		other := waits(bg, r.Other(), r.Key, fairTestTTL)
		r.Queued(1)
		r.Valid(k)
		r.OK(k.Verify(bg))
		r.OK(k.Release(bg))
		k = r.Got("the other Locker", other)
		r.OK(k.Release(bg))
		r.OK(r.Got("the one behind", behind).Release(bg))
		r.Gone()
	})
}

// A waiter that may ask at once, since there is a subscription, gets the lock by the message all the same.
func TestFairMessageOvertakesTheReplyToTheOnlyWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		cancel()
		if a := receive(t, "it gives up", first); a.Err == nil {
			t.Fatal("it got the lock")
		}
		r.Queued(0)
		eventually(t, "QUIT is answered", func() bool { return redigolock.WaitingEntry(r.Locker, r.Key) == "" })
		release := make(chan struct{})
		r.Once("enter", 1, redistest.Hold(release))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.OK(k.Release(bg))
		k = r.Got("the waiter, by the message alone", waiter)
		close(release)
		r.OK(k.Release(bg))
		r.Gone()
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
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		letGo := r.messagesHeld()
		r.OK(k.Release(bg))
		begin := time.Now()
		k = r.Got("the waiter", waiter)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		letGo() // the message comes, for a token that is held: it must not be released
		r.OK(k.Extend(bg, 2*fairTestTTL))
		behind := waits(bg, r.Locker, r.Key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 1 })
		r.Valid(k)
		r.OK(k.Release(bg))
		r.OK(r.Got("the one behind", behind).Release(bg))
		r.Gone()
	})
}

// A message counts from the last send that the server answered, never from its arrival, nor from a poke that is unanswered.
func TestFairMessageValidityCountsFromAnAnsweredSend(t *testing.T) {
	const ttl = 8 * time.Second // it has waited for less than half of it when the lock is released, or would be refreshed
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		release := make(chan struct{})
		defer close(release)
		before := time.Now()
		poked := r.Once("poke", 1, redistest.Late(release)) // never carried out
		waiter := waits(bg, r.Locker, r.Key, ttl)
		r.Queued(1)
		after := time.Now()
		<-poked
		r.OK(k.Release(bg))
		k = r.Got("the waiter", waiter)
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
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.Key, ttl)
		r.Queued(1)
		enter := time.Now()
		eventually(t, "half of the ttl is over", func() bool { return time.Since(enter) > ttl*2/3 })
		r.OK(k.Release(bg))
		k = r.Got("the waiter", waiter)
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
			k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
			ctx, cancel := context.WithCancel(bg)
			first := waits(ctx, r.Locker, r.Key, tt.first)
			r.Queued(1)
			sent := len(r.Proxy.Requests())
			heir := waits(bg, r.Locker, r.Key, tt.heir)
			eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 2 })
			cancel()
			if a := receive(t, "the first gives up", first); a.Err == nil {
				t.Fatal("it got the lock")
			}
			r.Poked()
			for _, q := range r.Proxy.Requests()[sent:] {
				if verb := verbOf(q); verb != "poke" && verb != "ping" {
					t.Errorf("the heir sent %s", verb)
				}
			}
			r.OK(k.Release(bg))
			k = r.Got("the heir", heir)
			if left := time.Until(k.Deadline()); left < tt.heir/2 {
				t.Errorf("the heir with %v has %v left", tt.heir, left)
			}
			r.OK(k.Release(bg))
		}
		r.Gone()
	})
}

// What a POKE says is left counts, not the ttl that was asked for.
func TestFairPokeTellsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = 20 * time.Second // or the line would be cut for its silence
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.Key, 6*time.Second)
		r.Queued(1)
		heir := waits(bg, r.Locker, r.Key, time.Second)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 2 })
		cancel()
		if a := receive(t, "the first gives up", first); a.Err == nil {
			t.Fatal("it got the lock")
		}
		letGo := r.messagesHeld()
		r.Poked() // so that the next one is a second away
		r.OK(k.Release(bg))
		r.OK(r.Got("the heir, by a poke", heir).Release(bg))
		letGo()
	})
}

// A message that was lost with the connection is found by the poke that follows the next subscription, not by the timer.
func TestFairResubscriptionIsFollowedByAPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		waiter := waits(bg, r.Locker, r.Key, time.Minute)
		r.Queued(1)
		r.Poked() // so that the timer's is a second away
		begin := time.Now()
		subscribed, n := len(r.Sent("subscribe")), len(r.Sent("poke"))
		r.Do("CLIENT", "KILL", "TYPE", "pubsub")
		eventually(t, "it subscribes again", func() bool { return len(r.Sent("subscribe")) > subscribed })
		eventually(t, "it pokes", func() bool { return len(r.Sent("poke")) > n })
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
	})
}

// A token that quits may be granted all the same, by an ENTER that is carried out after the QUIT. The message passes it on,
// before the QUIT is answered.
func TestFairMessageForATokenThatQuits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.Key, time.Minute)
		r.Queued(1)
		entry := r.Entries()[0]
		release := make(chan struct{})
		defer close(release)
		came := r.Once("quit", 1, redistest.Hold(release))
		cancel()
		wants(t, receive(t, "it gives up", first).Err, context.Canceled)
		<-came
		r.Queued(0)
		r.Do("RPUSH", r.Queue, entry) // as a late ENTER would
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// A "gone" may be older than the message that the token was granted: then one more poke decides.
func TestFairGoneMayBeOlderThanAMessage(t *testing.T) {
	const ttl = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		release := make(chan struct{})
		came := r.Once("poke", 1, redistest.Hold(release))
		waiter := waits(bg, r.Locker, r.Key, ttl)
		r.Queued(1)
		enter := time.Now()
		entry := r.Entries()[0]
		r.Do("DEL", r.Queue)
		<-came
		eventually(t, "POKE is carried out", func() bool { return r.CarriedOut("poke") > 0 })
		r.Do("RPUSH", r.Queue, entry) // as a late ENTER would
		eventually(t, "half of the ttl is over", func() bool { return time.Since(enter) > ttl*2/3 })
		r.OK(k.Release(bg))
		eventually(t, "the message has come", func() bool { return redigolock.PokesAgain(r.Locker, r.Key) })
		close(release)
		k = r.Got("the waiter", waiter)
		if !strings.HasSuffix(entry, k.Token()) {
			t.Errorf("it has %q, want what was granted to %q", k.Token(), entry)
		}
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// Ten thousand goroutines of one fair Locker wait for one key.

// A fairMany is such goroutines. Each that gets the lock releases it at once; when enough have had it, all leave.
type fairMany struct {
	t      *testing.T
	l      *redigolock.Locker
	enough int

	mu    sync.Mutex // protects what follows
	had   int
	most  time.Duration // that a Release took
	leave context.CancelFunc
}

const fairManyTTL = 10 * time.Minute // so long that a busy machine does not matter

var fairManyWaiters = testbed.Many(10_000)

// run has the first holder release when all wait, and returns when all have left.
func (m *fairMany) run() {
	holder, err := m.l.TryAcquire(bg, fairKey, fairManyTTL)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, leave := context.WithCancel(bg)
	defer leave()
	m.leave = leave
	var wg sync.WaitGroup
	for range fairManyWaiters {
		wg.Go(func() { m.wait(ctx) })
	}
	for redigolock.LocalWaiters(m.l, fairKey) < fairManyWaiters || !redigolock.Subscribed(m.l) {
		time.Sleep(time.Millisecond)
	}
	m.release(holder)
	wg.Wait()
	if m.had < m.enough {
		m.t.Errorf("%d have had the lock, want %d", m.had, m.enough)
	}
}

func (m *fairMany) wait(ctx context.Context) {
	k, err := m.l.Acquire(ctx, fairKey, fairManyTTL)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			m.t.Error(err)
		}
		return
	}
	m.release(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.had++; m.had == m.enough {
		m.leave()
	}
}

func (m *fairMany) release(k *redigolock.Lock) {
	start := time.Now()
	err := k.Release(bg)
	took := time.Since(start)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.most = max(m.most, took); err != nil {
		m.t.Errorf("a Release: %v", err)
	}
}

// A Release takes a round trip and an acquisition one command, however many wait, over a pool and over a Mux.
func TestFairReleaseAmongTenThousand(t *testing.T) {
	const trip, enough = 10 * time.Millisecond, 200
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%v", mux), func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				var p redigolock.Pool = simPool(t, s, "redis")
				if mux {
					m := &redigolock.Mux{Pool: p}
					t.Cleanup(func() { m.Close() })
					p = m
				}
				s.Delay(trip / 2)
				m := &fairMany{t: t, l: simLocker(t, &redigolock.Locker{Pool: p, Fair: true}), enough: enough}
				m.run()
				if m.most > 3*trip {
					t.Errorf("a Release took %v, a round trip takes %v", m.most, trip)
				}
				time.Sleep(time.Second) // the last gives up its place
				synctest.Wait()
				if sent := len(testbed.Evals(s)); sent > m.had+m.had/20+5 {
					t.Errorf("%d scripts for %d acquisitions", sent, m.had)
				}
				if keys := s.Miniredis().Keys(); len(keys) > 0 {
					t.Errorf("%q are left", keys)
				}
			})
		})
	}
}

// The same on a real server, where the machine says how long a Release takes: none fails, and the commands are counted.
func TestFairReleaseAmongTenThousandOnAServer(t *testing.T) {
	enough := testbed.Many(2000)
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%v", mux), func(t *testing.T) {
			server := redistest.Start(t)
			pool, err := redigolock.NewPool(server.URL())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { pool.Close() })
			l := &redigolock.Locker{Pool: pool, Fair: true}
			if mux {
				m := &redigolock.Mux{Pool: pool}
				t.Cleanup(func() { m.Close() })
				l.Pool = m
			}
			t.Cleanup(func() { l.Close() })
			start := time.Now()
			m := &fairMany{t: t, l: l, enough: enough}
			m.run()
			calls, err := server.Calls()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d acquisitions in %v, %d EVALSHA; the longest Release took %v", m.had, time.Since(start), calls["evalsha"], m.most)
			if most := int64(m.had + m.had/20 + 50 + int(time.Since(start)/time.Second)); calls["evalsha"] > most {
				t.Errorf("%d EVALSHA for %d acquisitions", calls["evalsha"], m.had)
			}
			eventually(t, "nothing is left", func() bool {
				keys, err := redis.Strings(server.Do("KEYS", "*"))
				return err == nil && len(slices.DeleteFunc(keys, isBeats)) == 0
			})
		})
	}
}
