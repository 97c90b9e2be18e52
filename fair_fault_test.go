package redigolock_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// once does act with the n-th request of a verb, and lets everything else pass. It returns what is closed when that came.
func (r *fairRig) once(verb string, n int, act redistest.Action) <-chan struct{} {
	came := make(chan struct{})
	r.rule(func(v string, seen int) redistest.Action {
		if v == verb && seen == n {
			close(came)
			return act
		}
		return redistest.Pass()
	})
	return came
}

// fairFaults are what can happen to a command. The late ones are carried out when the func is called.
var fairFaults = map[string]func() (act redistest.Action, later func()){
	"carried out, reply lost": func() (redistest.Action, func()) { return redistest.Drop(), func() {} },
	"not carried out":         func() (redistest.Action, func()) { return redistest.Cut(), func() {} },
	"carried out late": func() (redistest.Action, func()) {
		release := make(chan struct{})
		return redistest.Late(release), func() { close(release) }
	},
	"hangs": func() (redistest.Action, func()) { return redistest.Swallow(), func() {} },
}

// Whatever becomes of one command, the waiter gets the lock, nobody else has it at that time, and nothing is left behind.
func TestFairUnknownOutcomes(t *testing.T) {
	for _, verb := range []string{"try", "enter", "poke", "rel", "quit"} {
		for name, fault := range fairFaults {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				r := newFairRig(t)
				r.locker.OpTimeout = 200 * time.Millisecond
				act, later := fault()
				came := r.once(verb, 1, act)
				r.allVerbs(came)
				later()
				r.afterFault()
			})
		}
	}
}

// allVerbs has the rig's Locker send each of its commands, with another Locker as the holder, and checks exclusion.
func (r *fairRig) allVerbs(came <-chan struct{}) {
	r.t.Helper()
	other := r.other()
	k := r.must(other.Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	givesUp := waits(ctx, r.locker, r.key, fairTestTTL) // TRY, ENTER; then QUIT
	select {
	case <-came:
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if a := receive(r.t, "the waiter gives up", givesUp); a.err == nil {
		r.t.Error("two hold the lock")
	}
	waiter := waits(bg, r.locker, r.key, fairTestTTL) // perhaps POKE
	eventually(r.t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	eventually(r.t, "it waits at the server", func() bool {
		for _, e := range r.entries() {
			if redigolock.WaitingEntry(r.locker, r.key) == e {
				return true
			}
		}
		return false
	})
	behind := waits(bg, r.locker, r.key, fairTestTTL)
	eventually(r.t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 2 })
	if verb := r.verbOnce(came); verb {
		r.poked()
	}
	r.ok(k.Release(bg))
	k = r.got("the waiter", waiter)
	r.ok(k.Release(bg)) // REL with the next
	k = r.got("the one behind it", behind)
	r.ok(k.Release(bg))
}

// verbOnce reports whether the fault has not come yet.
func (r *fairRig) verbOnce(came <-chan struct{}) bool {
	select {
	case <-came:
		return false
	default:
		return true
	}
}

// poked has the waiting token POKEd now.
func (r *fairRig) poked() {
	r.t.Helper()
	n := len(r.sent("poke"))
	eventually(r.t, "a POKE", func() bool { return len(r.sent("poke")) > n })
}

func (r *fairRig) entries() []string {
	r.t.Helper()
	list, err := redis.Strings(r.server.Do("LRANGE", r.queue, 0, -1))
	r.ok(err)
	return list
}

// afterFault checks that nothing is left behind: after the clean-up a new waiter gets the lock at once or by a REL of what
// came late, and then both keys are gone.
func (r *fairRig) afterFault() {
	r.t.Helper()
	r.proxy.Rule(nil)
	k := r.got("a new waiter", waits(bg, r.locker, r.key, fairTestTTL))
	r.ok(k.Release(bg))
	r.ok(r.locker.Close())
	r.gone()
	r.oncePerToken()
}

// oncePerToken checks that no entry was ever sent by two commands that queue it.
func (r *fairRig) oncePerToken() {
	r.t.Helper()
	seen := map[string]bool{}
	for _, q := range r.proxy.Requests() {
		entry := ""
		switch verb := verbOf(q); {
		case verb == "enter":
			entry = q.Args[5]
		case verb == "rel" && len(q.Args) > 6:
			entry = q.Args[6]
		default:
			continue
		}
		if seen[entry] {
			r.t.Errorf("the entry %q was sent twice", entry)
		}
		seen[entry] = true
	}
}

// What gives up while its command is unanswered says so, and leaves nothing behind.
func TestFairGiveUpWhileACommandIsInFlight(t *testing.T) {
	for _, verb := range []string{"try", "enter"} {
		for name, fault := range fairFaults {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				r := newFairRig(t)
				r.locker.OpTimeout = 200 * time.Millisecond
				holder := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
				if verb == "try" {
					r.ok(holder.Release(bg))
				}
				act, later := fault()
				came := r.once(verb, 1, act)
				ctx, cancel := context.WithCancel(bg)
				waiter := waits(ctx, r.locker, r.key, fairTestTTL)
				<-came
				cancel()
				if a := receive(t, "the waiter returns", waiter); a.err == nil {
					r.ok(a.k.Release(bg))
				} else {
					wants(t, a.err, context.Canceled)
				}
				later()
				if verb == "enter" {
					eventually(t, "the entry has gone", func() bool { return len(r.entries()) == 0 })
					r.valid(holder)
					r.ok(holder.Release(bg))
				}
				r.gone()
			})
		}
	}
}

// A message may come before the reply to the command that queued its token. Nobody may take that late reply for news.
func TestFairMessageOvertakesTheReply(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	release := make(chan struct{})
	r.once("enter", 1, redistest.Hold(release))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	r.ok(k.Release(bg))
	k = r.got("the waiter, by the message alone", waiter)
	behind := waits(bg, r.locker, r.key, fairTestTTL)
	eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	close(release)
	other := waits(bg, r.other(), r.key, fairTestTTL)
	r.queued(1)
	r.valid(k)
	r.ok(k.Verify(bg))
	r.ok(k.Release(bg))
	k = r.got("the other Locker", other)
	r.ok(k.Release(bg))
	r.ok(r.got("the one behind", behind).Release(bg))
	r.gone()
}

// A waiter that may ask at once, since there is a subscription, gets the lock by the message all the same.
func TestFairMessageOvertakesTheReplyToTheOnlyWaiter(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	first := waits(ctx, r.locker, r.key, fairTestTTL)
	r.queued(1)
	cancel()
	if a := receive(t, "it gives up", first); a.err == nil {
		t.Fatal("it got the lock")
	}
	r.queued(0)
	eventually(t, "QUIT is answered", func() bool { return redigolock.WaitingEntry(r.locker, r.key) == "" })
	release := make(chan struct{})
	r.once("enter", 1, redistest.Hold(release))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	r.ok(k.Release(bg))
	k = r.got("the waiter, by the message alone", waiter)
	close(release)
	r.ok(k.Release(bg))
	r.gone()
}

// messagesHeld lets no message through until the func is called, while the subscription counts as alive.
func (r *fairRig) messagesHeld() (letGo func()) {
	release := make(chan struct{})
	held := make(chan struct{})
	var once atomic.Bool
	r.proxy.Rule(func(q redistest.Request) redistest.Action {
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
	r := newFairRig(t)
	r.locker.OpTimeout = 20 * time.Second // or the line would be cut for its silence
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	letGo := r.messagesHeld()
	r.ok(k.Release(bg))
	begin := time.Now()
	k = r.got("the waiter", waiter)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	letGo() // the message comes, for a token that is held: it must not be released
	r.ok(k.Extend(bg, 2*fairTestTTL))
	behind := waits(bg, r.locker, r.key, fairTestTTL)
	eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	r.valid(k)
	r.ok(k.Release(bg))
	r.ok(r.got("the one behind", behind).Release(bg))
	r.gone()
}

// A message counts from the last send that the server answered, never from its arrival, nor from a poke that is unanswered.
func TestFairMessageValidityCountsFromAnAnsweredSend(t *testing.T) {
	const ttl = 4 * time.Second
	r := newFairRig(t)
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	release := make(chan struct{})
	defer close(release)
	before := time.Now()
	poked := r.once("poke", 1, redistest.Late(release)) // never carried out
	waiter := waits(bg, r.locker, r.key, ttl)
	r.queued(1)
	after := time.Now()
	<-poked
	if time.Since(after) < 200*time.Millisecond {
		t.Skip("the poke came at once: nothing can be told")
	}
	r.ok(k.Release(bg))
	k = r.got("the waiter", waiter)
	if late := k.Deadline().Sub(after.Add(validFor(ttl))); late > 0 {
		t.Errorf("Deadline is %v later than the answered send allows", late)
	} else if early := before.Add(validFor(ttl)).Sub(k.Deadline()); early > 0 {
		t.Errorf("Deadline is %v too early", early)
	}
	r.proxy.Rule(nil)
}

// A token that waited for longer than half of its ttl is refreshed before it is handed out.
func TestFairLongWaitIsRefreshed(t *testing.T) {
	const ttl = 600 * time.Millisecond
	r := newFairRig(t)
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, r.locker, r.key, ttl)
	r.queued(1)
	enter := time.Now()
	eventually(t, "half of the ttl is over", func() bool { return time.Since(enter) > ttl*2/3 })
	r.ok(k.Release(bg))
	k = r.got("the waiter", waiter)
	if left := time.Until(k.Deadline()); left < ttl/2 {
		t.Errorf("only %v is left", left)
	}
	r.ok(k.Release(bg))
}

// The heir of an entry may have another ttl: the entry's counts, and what it wants is asked for.
func TestFairHeirHasItsOwnTTL(t *testing.T) {
	r := newFairRig(t)
	for _, tt := range []struct{ first, heir time.Duration }{{time.Second, time.Minute}, {time.Minute, time.Second}} {
		k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.locker, r.key, tt.first)
		r.queued(1)
		sent := len(r.proxy.Requests())
		heir := waits(bg, r.locker, r.key, tt.heir)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 2 })
		cancel()
		if a := receive(t, "the first gives up", first); a.err == nil {
			t.Fatal("it got the lock")
		}
		r.poked()
		for _, q := range r.proxy.Requests()[sent:] {
			if verb := verbOf(q); verb != "poke" && verb != "ping" {
				t.Errorf("the heir sent %s", verb)
			}
		}
		r.ok(k.Release(bg))
		k = r.got("the heir", heir)
		if left := time.Until(k.Deadline()); left < tt.heir/2 {
			t.Errorf("the heir with %v has %v left", tt.heir, left)
		}
		r.ok(k.Release(bg))
	}
	r.gone()
}

// A lock that its local holder keeps for ever is lost at its Deadline, and the next local waiter gets it.
func TestFairLocalHolderThatNeverReleases(t *testing.T) {
	const ttl = 300 * time.Millisecond
	r := newFairRig(t)
	lostKey := r.must(r.locker.Acquire(bg, r.key, ttl))
	k := r.got("the waiter", waits(bg, r.locker, r.key, fairTestTTL))
	if now := time.Now(); now.Before(lostKey.Deadline()) {
		t.Errorf("two hold the lock")
	}
	behind := waits(bg, r.locker, r.key, fairTestTTL)
	eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	wants(t, lostKey.Release(bg), redigolock.ErrNotHeld) // comes late, and must not take anybody along
	r.valid(k)
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries were queued by the late release", n)
	}
	r.ok(k.Release(bg))
	r.ok(r.got("the one behind", behind).Release(bg))
	r.gone()
}

// The lock of a holder that is found to be lost before its Deadline goes to the next local waiter.
func TestFairLocalHolderThatIsFoundLost(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.locker.Acquire(bg, r.key, time.Hour))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	r.do("DEL", r.key)
	wants(t, k.Verify(bg), redigolock.ErrNotHeld)
	r.ok(r.got("the waiter", waiter).Release(bg))
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
	r.gone()
}

// The lock of a holder that died goes on when its TTL is over, at the latest one poke later.
func TestFairHolderThatDied(t *testing.T) {
	r := newFairRig(t)
	r.do("SET", r.key, "of a dead process", "PX", 400)
	begin := time.Now()
	k := r.got("the waiter", waits(bg, r.locker, r.key, fairTestTTL))
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	r.ok(k.Release(bg))
}

// Foreign clients exclude, and are excluded; when they release by DEL, which hands nothing over, the queue goes on at the next
// poke.
func TestFairForeignClients(t *testing.T) {
	r := newFairRig(t)
	plain := &redigolock.Locker{Pool: r.server.Pool()}
	defer plain.Close()
	k := r.must(plain.Acquire(bg, r.key, time.Minute))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	r.valid(k)
	r.ok(k.Release(bg))
	begin := time.Now()
	k = r.got("the waiter", waiter)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v after a plain Locker's release", took)
	}
	_, err := plain.TryAcquire(bg, r.key, time.Minute)
	wants(t, err, redigolock.ErrHeld)
	r.ok(k.Release(bg))
	r.gone()
}

// A foreign string without TTL would be waited for for ever.
func TestFairConflicts(t *testing.T) {
	r := newFairRig(t)
	for name, set := range map[string][]any{
		"a string without TTL": {"SET", r.key, "x"},
		"another type":         {"RPUSH", r.key, "x"},
		"a queue of no list":   {"SET", r.queue, "x"},
	} {
		r.do(set[0].(string), set[1:]...)
		_, err := r.locker.Acquire(bg, r.key, fairTestTTL)
		wants(t, err, redigolock.ErrConflict)
		_, err = r.locker.TryAcquire(bg, r.key, fairTestTTL)
		wants(t, err, redigolock.ErrConflict)
		if t.Failed() {
			t.Fatal(name)
		}
		r.do("DEL", r.key, r.queue)
	}
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	r.do("PERSIST", r.key)
	wants(t, receive(t, "the waiter returns", waiter).err, redigolock.ErrConflict)
	r.queued(0)
	wants(t, k.Verify(bg), redigolock.ErrConflict)
	r.ok(k.Release(bg))
	r.gone()
}

// Tokens that were given up and are in the lock all the same, since a command was carried out late, are released by whoever
// of the same Locker sees them.
func TestFairLateCommandOfADeadToken(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	waiter := waits(ctx, r.locker, r.key, fairTestTTL)
	r.queued(1)
	entry := r.entries()[0]
	cancel()
	if a := receive(t, "the waiter gives up", waiter); a.err == nil {
		t.Fatal("it got the lock")
	}
	r.queued(0)
	r.do("RPUSH", r.queue, entry) // as its ENTER would, if it came only now
	r.ok(k.Release(bg))
	r.gone() // by its message
	dead := entry[len(entry)-36:]
	r.do("SET", r.key, dead, "PX", 60000) // as its TRY would
	begin := time.Now()
	k = r.got("a new waiter", waits(bg, r.locker, r.key, fairTestTTL))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	r.ok(k.Release(bg))
	r.gone()
}

// A subscription that leads to another server than the commands is seen, and costs fairness, not the lock.
func TestFairSubscriptionOnTheWrongServer(t *testing.T) {
	r := newFairRig(t)
	wrong := redistest.Start(t)
	pool := &splitPool{Pool: r.server.Pool(), dial: wrong.Dial}
	l := r.fair(pool)
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, l, r.key, fairTestTTL)
	eventually(t, "it has subscribed", func() bool { return redigolock.Subscribed(l) })
	eventually(t, "it has asked again", func() bool {
		calls, err := wrong.Calls()
		return err == nil && calls["subscribe"] >= 2
	})
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries are queued that nobody hears of", n)
	}
	r.ok(k.Release(bg))
	r.ok(r.got("the waiter, by trying", waiter).Release(bg))
	r.gone()
}

// A splitPool dials another server than it lends connections to.
type splitPool struct {
	*redis.Pool
	dial func(...redis.DialOption) (redis.Conn, error)
}

func (p *splitPool) DialContext(context.Context) (redis.Conn, error) { return p.dial() }

// A key is released by REL, which may be lost twice; the handle says what it knows, and the lock does not stay behind.
func TestFairReleaseIsRepeated(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint(n, " lost"), func(t *testing.T) {
			r := newFairRig(t)
			k := r.must(r.locker.Acquire(bg, r.key, time.Hour))
			waiter := waits(bg, r.other(), r.key, fairTestTTL)
			r.queued(1)
			r.rule(func(verb string, seen int) redistest.Action {
				if verb == "rel" && seen <= n {
					return redistest.Cut()
				}
				return redistest.Pass()
			})
			err := k.Release(bg)
			if n == 1 && err != nil {
				t.Errorf("%v, want nil", err)
			} else if n > 1 {
				wants(t, err, redigolock.ErrUnknown)
			}
			r.ok(r.got("the waiter", waiter).Release(bg))
			r.gone()
		})
	}
}

// What a POKE says is left counts, not the ttl that was asked for.
func TestFairPokeTellsWhatIsLeft(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = 20 * time.Second // or the line would be cut for its silence
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	first := waits(ctx, r.locker, r.key, 6*time.Second)
	r.queued(1)
	heir := waits(bg, r.locker, r.key, time.Second)
	eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 2 })
	cancel()
	if a := receive(t, "the first gives up", first); a.err == nil {
		t.Fatal("it got the lock")
	}
	letGo := r.messagesHeld()
	r.poked() // so that the next one is a second away
	r.ok(k.Release(bg))
	r.ok(r.got("the heir, by a poke", heir).Release(bg))
	letGo()
}

// A release takes nobody along whom no message could reach.
func TestFairReleaseTakesNobodyAlongWithoutSubscription(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.locker.Acquire(bg, r.key, fairTestTTL))
	r.proxy.Refuse(true)
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	r.ok(k.Release(bg))
	for _, q := range r.sent("rel") {
		if len(q.Args) != 6 {
			t.Errorf("%q was sent", q.Args)
		}
	}
	r.proxy.Refuse(false)
	r.ok(r.got("the waiter", waiter).Release(bg))
	r.gone()
}

// Nothing is queued while a QUIT is unanswered: the process would stand in the queue twice.
func TestFairNothingIsQueuedDuringQuit(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	ctx, cancel := context.WithCancel(bg)
	first := waits(ctx, r.locker, r.key, fairTestTTL)
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
		waiter = waits(bg, r.locker, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.locker, r.key) == 1 })
	}, "enter", "try")
	close(release)
	r.queued(1)
	r.ok(k.Release(bg))
	r.ok(r.got("the waiter", waiter).Release(bg))
	r.gone()
}

// A grant that nobody wants any more is passed on.
func TestFairGrantForNobodyIsPassedOn(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	release := make(chan struct{})
	defer close(release)
	r.once("enter", 1, redistest.Hold(release))
	ctx, cancel := context.WithCancel(bg)
	first := waits(ctx, r.locker, r.key, time.Minute)
	r.queued(1)
	behind := waits(bg, r.other(), r.key, fairTestTTL)
	r.queued(2)
	cancel()
	a := receive(t, "it gives up", first)
	wants(t, a.err, context.Canceled, redigolock.ErrUnknown) // its ENTER is not answered
	r.ok(k.Release(bg))
	r.ok(r.got("the one behind", behind).Release(bg))
	r.gone()
}

// A QUIT is not abandoned: the entry goes while somebody else holds the lock.
func TestFairQuitIsRepeated(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	ctx, cancel := context.WithCancel(bg)
	first := waits(ctx, r.locker, r.key, fairTestTTL)
	r.queued(1)
	r.rule(func(verb string, n int) redistest.Action {
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
	r.ok(k.Release(bg))
	r.gone()
}

// A holder that slept past its Deadline, whose Locker waits in the queue meanwhile, does not queue it a second time.
func TestFairLateReleaseBehindAQueuedToken(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.locker.Acquire(bg, r.key, 200*time.Millisecond))
	r.do("SET", r.key, "foreign", "PX", 60000)
	a, b := waits(bg, r.locker, r.key, fairTestTTL), waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
	if n := len(r.entries()); n != 1 {
		t.Errorf("%d entries", n)
	}
	r.do("DEL", r.key)
	for range 2 {
		select {
		case x := <-a:
			r.ok(x.err)
			r.ok(x.k.Release(bg))
		case x := <-b:
			r.ok(x.err)
			r.ok(x.k.Release(bg))
		case <-time.After(10 * time.Second):
			t.Fatal("nobody gets the lock")
		}
	}
	r.gone()
}

// A message that was lost with the connection is found by the poke that follows the next subscription, not by the timer.
func TestFairResubscriptionIsFollowedByAPoke(t *testing.T) {
	r := newFairRig(t)
	k := r.must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, r.locker, r.key, fairTestTTL)
	r.queued(1)
	r.poked() // so that the timer's is a second away
	begin := time.Now()
	n := len(r.sent("poke"))
	r.do("CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, "it subscribes again", func() bool { return len(r.sent("subscribe")) >= 2 })
	eventually(t, "it pokes", func() bool { return len(r.sent("poke")) > n })
	if took := time.Since(begin); took > 900*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	r.ok(k.Release(bg))
	r.ok(r.got("the waiter", waiter).Release(bg))
}

// sendsNone checks that f, and the tenth of a second after it, sends none of these verbs.
func (r *fairRig) sendsNone(when string, f func(), verbs ...string) {
	r.t.Helper()
	before := map[string]int{}
	for _, verb := range verbs {
		before[verb] = len(r.sent(verb))
	}
	f()
	begin := time.Now()
	eventually(r.t, "some time passes", func() bool { return time.Since(begin) > 100*time.Millisecond })
	for _, verb := range verbs {
		if n := len(r.sent(verb)) - before[verb]; n != 0 {
			r.t.Errorf("%s: %s was sent", when, verb)
		}
	}
}

// QUIT waits for the ENTER that it is to undo: overtaking it, it would leave the entry behind.
func TestFairQuitDoesNotOvertakeItsEnter(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	release := make(chan struct{})
	came := r.once("enter", 1, redistest.Late(release))
	ctx, cancel := context.WithCancel(bg)
	waiter := waits(ctx, r.locker, r.key, fairTestTTL)
	<-came
	r.sendsNone("with ENTER on its way", func() {
		cancel()
		wants(t, receive(t, "it gives up", waiter).err, context.Canceled, redigolock.ErrUnknown)
	}, "quit")
	close(release)
	eventually(t, "QUIT", func() bool { return len(r.sent("quit")) == 1 })
	r.queued(0)
	r.ok(k.Release(bg))
	r.gone()
}

// A token that quits may be granted all the same, by an ENTER that is carried out after the QUIT. The message passes it on,
// before the QUIT is answered.
func TestFairMessageForATokenThatQuits(t *testing.T) {
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	ctx, cancel := context.WithCancel(bg)
	first := waits(ctx, r.locker, r.key, time.Minute)
	r.queued(1)
	entry := r.entries()[0]
	release := make(chan struct{})
	defer close(release)
	came := r.once("quit", 1, redistest.Hold(release))
	cancel()
	wants(t, receive(t, "it gives up", first).err, context.Canceled)
	<-came
	r.queued(0)
	r.do("RPUSH", r.queue, entry) // as a late ENTER would
	r.ok(k.Release(bg))
	r.gone()
}

// A "gone" may be older than the message that the token was granted: then one more poke decides.
func TestFairGoneMayBeOlderThanAMessage(t *testing.T) {
	const ttl = 3 * time.Second
	r := newFairRig(t)
	r.locker.OpTimeout = time.Minute
	k := r.must(r.other().Acquire(bg, r.key, time.Minute))
	release := make(chan struct{})
	came := r.once("poke", 1, redistest.Hold(release))
	waiter := waits(bg, r.locker, r.key, ttl)
	r.queued(1)
	enter := time.Now()
	entry := r.entries()[0]
	r.do("DEL", r.queue)
	<-came
	eventually(t, "POKE is carried out", func() bool {
		calls, err := r.server.Calls()
		return err == nil && calls["lpos"] > 0
	})
	r.do("RPUSH", r.queue, entry) // as a late ENTER would
	eventually(t, "half of the ttl is over", func() bool { return time.Since(enter) > ttl*2/3 })
	r.ok(k.Release(bg))
	eventually(t, "the message has come", func() bool { return redigolock.PokesAgain(r.locker, r.key) })
	close(release)
	k = r.got("the waiter", waiter)
	if !strings.HasSuffix(entry, k.Token()) {
		t.Errorf("it has %q, want what was granted to %q", k.Token(), entry)
	}
	r.ok(k.Release(bg))
	r.gone()
}
