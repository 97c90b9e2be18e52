package redigolock_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

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
				synctest.Test(t, func(t *testing.T) {
					r := newSimFairRig(t)
					r.Locker.OpTimeout = shortOp
					act, later := fault()
					came := r.Once(verb, 1, act)
					r.allVerbs(came)
					later()
					r.afterFault()
				})
			})
		}
	}
}

// allVerbs has the rig's Locker send each of its commands, with another Locker as the holder, and checks exclusion.
func (r *fairRig) allVerbs(came <-chan struct{}) {
	r.T.Helper()
	other := r.Other()
	k := r.Must(other.Acquire(bg, r.Key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	givesUp := waits(ctx, r.Locker, r.Key, fairTestTTL) // TRY, ENTER; then QUIT
	select {
	case <-came:
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if a := receive(r.T, "the waiter gives up", givesUp); a.Err == nil {
		r.T.Error("two hold the lock")
	}
	waiter := waits(bg, r.Locker, r.Key, fairTestTTL) // perhaps POKE
	eventually(r.T, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 1 })
	eventually(r.T, "it waits at the server", func() bool {
		for _, e := range r.Entries() {
			if redigolock.WaitingEntry(r.Locker, r.Key) == e {
				return true
			}
		}
		return false
	})
	behind := waits(bg, r.Locker, r.Key, fairTestTTL)
	eventually(r.T, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 2 })
	if verb := r.verbOnce(came); verb {
		r.Poked()
	}
	r.OK(k.Release(bg))
	k = r.Got("the waiter", waiter)
	r.OK(k.Release(bg)) // REL with the next
	k = r.Got("the one behind it", behind)
	r.OK(k.Release(bg))
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

// afterFault checks that nothing is left behind: after the clean-up a new waiter gets the lock at once or by a REL of what
// came late, and then both keys are gone.
func (r *fairRig) afterFault() {
	r.T.Helper()
	r.Proxy.Rule(nil)
	k := r.Got("a new waiter", waits(bg, r.Locker, r.Key, fairTestTTL))
	r.OK(k.Release(bg))
	r.OK(r.Locker.Close())
	r.Gone()
	r.oncePerToken()
}

// oncePerToken checks that no entry was ever sent by two commands that queue it.
func (r *fairRig) oncePerToken() {
	r.T.Helper()
	seen := map[string]bool{}
	for _, q := range r.Proxy.Requests() {
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
			r.T.Errorf("the entry %q was sent twice", entry)
		}
		seen[entry] = true
	}
}

// A subscription that leads to another server than the commands is seen, and costs fairness, not the lock.
func TestFairSubscriptionOnTheWrongServer(t *testing.T) {
	r := newFairRig(t)
	wrong := redistest.Start(t)
	pool := &splitPool{Pool: r.Server.Pool(), dial: wrong.Dial}
	l := r.Fair(pool)
	k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
	waiter := waits(bg, l, r.Key, fairTestTTL)
	eventually(t, "it has subscribed", func() bool { return redigolock.Subscribed(l) })
	eventually(t, "it has asked again", func() bool {
		calls, err := wrong.Calls()
		return err == nil && calls["subscribe"] >= 2
	})
	if n := len(r.Entries()); n != 0 {
		t.Errorf("%d entries are queued that nobody hears of", n)
	}
	r.OK(k.Release(bg))
	r.OK(r.Got("the waiter, by trying", waiter).Release(bg))
	r.Gone()
}

// A splitPool dials another server than it lends connections to.
type splitPool struct {
	*redis.Pool
	dial func(...redis.DialOption) (redis.Conn, error)
}

func (p *splitPool) DialContext(context.Context) (redis.Conn, error) { return p.dial() }

// fairAcquires are the two ways to send a TRY.
var fairAcquires = map[string]func(*redigolock.Locker, context.Context, string) error{
	"TryAcquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
		_, err := l.TryAcquire(ctx, key, time.Minute)
		return err
	},
	"Acquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
		_, err := l.Acquire(ctx, key, time.Minute)
		return err
	},
}

// A TRY that is carried out after its clean-up was confirmed has left a lock to nobody. Who asks next finds it, and frees it.
func TestFairTryCarriedOutAfterItsCleanUp(t *testing.T) {
	for name, acquire := range fairAcquires {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = shortOp
				release := make(chan struct{})
				came := r.Once("try", 1, redistest.Late(release))
				ctx, cancel := context.WithCancel(bg)
				gaveUp := inBackground(func() error { return acquire(r.Locker, ctx, r.Key) })
				receive(t, "it is sent", came)
				cancel()
				wants(t, receive(t, "it gives up", gaveUp), context.Canceled, redigolock.ErrUnknown)
				eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(r.Locker) })
				close(release)
				eventually(t, "it is carried out", func() bool { return r.Get(r.Key) != "" })
				eventually(t, "the next gets it, with the same verb", func() bool { return acquire(r.Locker, bg, r.Key) == nil })
			})
		})
	}
}

// The clean-up of a lost TRY neither waits for a connection of the pool nor gets a broken one: it dials its own.
func TestFairCleanUpOfALostTryDials(t *testing.T) {
	for name, acquire := range fairAcquires {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				pool := r.Proxy.Pool()
				l := r.Fair(pool)
				l.OpTimeout = shortOp
				pooled := r.idle(pool, 4)
				came := r.Once("try", 1, redistest.Swallow())
				ctx, cancel := context.WithCancel(bg)
				gaveUp := inBackground(func() error { return acquire(l, ctx, r.Key) })
				<-came
				cancel()
				wants(t, receive(t, "it gives up", gaveUp), context.Canceled, redigolock.ErrUnknown)
				eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(l) })
				if !pooled[r.Sent("try")[0].Conn] {
					t.Error("TRY was not sent on a connection of the pool")
				}
				for _, q := range r.Sent("rel") {
					if pooled[q.Conn] {
						t.Error("REL was sent on a connection of the pool")
					}
				}
			})
		})
	}
}

// So does that of a TRY which the server has not seen, when Acquire goes on with another token.
func TestFairCleanUpOfATryThatIsGoneDials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		pool := r.Proxy.Pool()
		l := r.Fair(pool)
		l.OpTimeout = shortOp
		pooled := r.idle(pool, 4)
		r.Once("try", 1, redistest.Cut())
		k := r.Must(l.Acquire(bg, r.Key, time.Minute))
		eventually(t, "the lost token is released", func() bool { return len(r.Sent("rel")) > 0 && !redigolock.FairOwes(l) })
		for _, q := range r.Sent("rel") {
			if pooled[q.Conn] {
				t.Error("REL was sent on a connection of the pool")
			}
		}
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// idle makes idle connections in the pool, and returns their numbers.
func (r *fairRig) idle(pool *redis.Pool, n int) map[int]bool {
	r.T.Helper()
	numbers := map[int]bool{}
	for range n {
		c := pool.Get()
		defer c.Close()
		_, err := c.Do("ECHO", "idle")
		r.OK(err)
	}
	for _, q := range r.Sent("echo") {
		numbers[q.Conn] = true
	}
	return numbers
}

// What is retried in the background with long pauses is retried soon when somebody comes who waits for it.
func TestFairComerDoesNotWaitForALongPause(t *testing.T) {
	const failures = 10 // the pause after them is 5 s
	for _, verb := range []string{"quit", "rel"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				var away atomic.Bool
				away.Store(true)
				r.Rule(func(v string, n int) redistest.Action {
					if v == verb && away.Load() {
						return redistest.Cut()
					}
					return redistest.Pass()
				})
				if verb == "quit" {
					k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
					ctx, cancel := context.WithCancel(bg)
					waiter := waits(ctx, r.Locker, r.Key, time.Minute)
					r.Queued(1)
					cancel()
					wants(t, receive(t, "it gives up", waiter).Err, context.Canceled)
					r.OK(k.Release(bg))
				} else {
					k := r.Must(r.Locker.Acquire(bg, r.Key, time.Minute))
					wants(t, k.Release(bg), redigolock.ErrUnknown)
				}
				eventually(t, "the pauses are long", func() bool { return len(r.Sent(verb)) >= failures })
				away.Store(false)
				begin := time.Now()
				r.OK(r.Got("who came", waits(bg, r.Locker, r.Key, time.Minute)).Release(bg))
				if took := time.Since(begin); took > 2500*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				r.Gone()
			})
		})
	}
}

// A machine that was suspended while it waited finds a message whose time is over by the wall clock only: POKE refreshes it.
func TestFairMessageAfterASuspend(t *testing.T) {
	r := newFairRig(t)
	clock := stopClock(r.Locker)
	k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
	waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
	r.Queued(1)
	clock.AddWall(t, 2*fairTestTTL)
	r.OK(k.Release(bg))
	a := receive(t, "the waiter", waiter)
	r.OK(a.Err)
	r.OK(a.K.Verify(bg))
	r.OK(a.K.Release(bg))
	r.Gone()
}

// A queue of another type has REL refused before it deletes anything: the lock is released when the queue is mended.
func TestFairReleaseThatWasRefusedForTheQueueIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, time.Minute))
		r.Do("SET", r.Queue, "no list")
		wants(t, k.Release(bg), redigolock.ErrConflict)
		r.Do("DEL", r.Queue)
		r.Gone()
	})
}

// What gives up while its command is unanswered says so, and leaves nothing behind.
func TestFairGiveUpWhileACommandIsInFlight(t *testing.T) {
	for _, verb := range []string{"try", "enter"} {
		for name, fault := range fairFaults {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newSimFairRig(t)
					r.Locker.OpTimeout = shortOp
					holder := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
					if verb == "try" {
						r.OK(holder.Release(bg))
					}
					act, later := fault()
					came := r.Once(verb, 1, act)
					ctx, cancel := context.WithCancel(bg)
					waiter := waits(ctx, r.Locker, r.Key, fairTestTTL)
					<-came
					cancel()
					if a := receive(t, "the waiter returns", waiter); a.Err == nil {
						r.OK(a.K.Release(bg))
					} else {
						wants(t, a.Err, context.Canceled)
					}
					later()
					if verb == "enter" {
						eventually(t, "the entry has gone", func() bool { return len(r.Entries()) == 0 })
						r.Valid(holder)
						r.OK(holder.Release(bg))
					}
					r.Gone()
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
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		waiter := waits(ctx, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		entry := r.Entries()[0]
		cancel()
		if a := receive(t, "the waiter gives up", waiter); a.Err == nil {
			t.Fatal("it got the lock")
		}
		r.Queued(0)
		r.Do("RPUSH", r.Queue, entry) // as its ENTER would, if it came only now
		r.OK(k.Release(bg))
		r.Gone() // by its message
		dead := entry[len(entry)-36:]
		r.Do("SET", r.Key, dead, "PX", 60000) // as its TRY would
		begin := time.Now()
		k = r.Got("a new waiter", waits(bg, r.Locker, r.Key, fairTestTTL))
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// Nothing is queued while a QUIT is unanswered: the process would stand in the queue twice.
func TestFairNothingIsQueuedDuringQuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		release := make(chan struct{})
		came := r.Once("quit", 1, redistest.Late(release))
		cancel()
		if a := receive(t, "it gives up", first); a.Err == nil {
			t.Fatal("it got the lock")
		}
		<-came
		var waiter <-chan acquired
		r.sendsNone("during QUIT", func() {
			waiter = waits(bg, r.Locker, r.Key, fairTestTTL)
			eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 1 })
		}, "enter", "try")
		close(release)
		r.Queued(1)
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.Gone()
	})
}

// A grant that nobody wants any more is passed on.
func TestFairGrantForNobodyIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = time.Minute
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		release := make(chan struct{})
		defer close(release)
		r.Once("enter", 1, redistest.Hold(release))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.Key, time.Minute)
		r.Queued(1)
		behind := waits(bg, r.Other(), r.Key, fairTestTTL)
		r.Queued(2)
		cancel()
		a := receive(t, "it gives up", first)
		wants(t, a.Err, context.Canceled, redigolock.ErrUnknown) // its ENTER is not answered
		r.OK(k.Release(bg))
		r.OK(r.Got("the one behind", behind).Release(bg))
		r.Gone()
	})
}

// A QUIT is not abandoned: the entry goes while somebody else holds the lock.
func TestFairQuitIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		ctx, cancel := context.WithCancel(bg)
		first := waits(ctx, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "quit" && n <= 3 {
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		cancel()
		if a := receive(t, "it gives up", first); a.Err == nil {
			t.Fatal("it got the lock")
		}
		r.Queued(0)
		r.OK(k.Release(bg))
		r.Gone()
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
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
		release := make(chan struct{})
		came := r.Once("enter", 1, redistest.Late(release))
		ctx, cancel := context.WithCancel(bg)
		waiter := waits(ctx, r.Locker, r.Key, fairTestTTL)
		<-came
		r.sendsNone("with ENTER on its way", func() {
			cancel()
			wants(t, receive(t, "it gives up", waiter).Err, context.Canceled, redigolock.ErrUnknown)
		}, "quit")
		close(release)
		eventually(t, "QUIT", func() bool { return len(r.Sent("quit")) == 1 })
		r.Queued(0)
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// A slot goes when it cannot be needed any more, also if nobody ever uses its key again, or any other.
func TestFairSlotsThatNobodyUsesAgainGo(t *testing.T) {
	const ttl = time.Second
	for name, use := range map[string]func(r *fairRig){
		"a holder that does not release": func(r *fairRig) { r.Must(r.Locker.TryAcquire(bg, r.Key, ttl)) },
		"a try that was not answered": func(r *fairRig) { // its token is remembered
			r.Locker.OpTimeout = shortOp
			came := r.Once("try", 1, redistest.Drop())
			ctx, cancel := context.WithCancel(bg)
			gaveUp := inBackground(func() error {
				_, err := r.Locker.TryAcquire(ctx, r.Key, ttl)
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

// limited makes a fair Locker of a user who has all rights but these.
func (r *fairRig) limited(rights ...any) *redigolock.Locker {
	r.T.Helper()
	r.Do("ACL", append([]any{"SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all"}, rights...)...)
	pool, err := redigolock.NewPool(strings.Replace(r.Real().URL(), "redis://", "redis://u:pw@", 1))
	r.OK(err)
	r.T.Cleanup(func() { pool.Close() })
	return r.Fair(pool)
}

// A waiter that stands in the queue when its user loses the right to scripts is told so at its next POKE. Who comes then is
// told at once, too; and the entry goes when the right is back.
func TestFairQueuedWaiterThatLosesItsRights(t *testing.T) {
	t.Parallel() // in real time: miniredis knows no rights
	r := newFairRig(t)
	l := r.limited()
	k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
	waiter, behind := waits(bg, l, r.Key, time.Minute), waits(bg, l, r.Key, time.Minute)
	r.Queued(1)
	r.Do("ACL", "SETUSER", "u", "-evalsha", "-eval")
	noRight := func(what string, ch <-chan acquired) {
		if err := receive(t, what, ch).Err; err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%s: %v", what, err)
		}
	}
	noRight("the waiter", waiter)
	noRight("the one behind", behind)
	noRight("who comes now", waits(bg, l, r.Key, time.Minute))
	r.Do("ACL", "SETUSER", "u", "+evalsha", "+eval")
	r.Queued(0)
	r.OK(k.Release(bg))
	r.Gone()
}

// Who may not publish hands the lock over all the same, and is told that nobody was. The next holder finds it by its POKE.
func TestFairReleaseThatMayNotPublish(t *testing.T) {
	t.Parallel() // in real time: miniredis knows no rights
	r := newFairRig(t)
	k := r.Must(r.limited("-publish").Acquire(bg, r.Key, time.Minute))
	waiter := waits(bg, r.Other(), r.Key, time.Minute)
	r.Queued(1)
	err := k.Release(bg)
	if err == nil || errors.Is(err, redigolock.ErrNotHeld) || errors.Is(err, redigolock.ErrUnknown) {
		t.Errorf("Release returns %v", err)
	}
	r.OK(r.Got("the waiter", waiter).Release(bg))
	r.Gone()
}

// A grant of a token that the Locker does not know is of one that it has forgotten: it is passed on.
func TestFairMessageOfAForgottenToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("SET", r.Key, "forgotten", "PX", 60000)
		waiter := waits(bg, r.Locker, r.Key, time.Minute)
		r.Queued(1)
		entry := strings.SplitN(r.Entries()[0], " ", 4)
		begin := time.Now()
		r.Do("PUBLISH", entry[2], "forgotten")
		k := r.Got("the waiter", waiter)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// A trap ends the goroutine that steps into it, once it is set.
type trap struct {
	exit bool         // by runtime.Goexit, else by a panic
	left atomic.Int32 // how many goroutines pass before it shuts; negative: it is not set
}

func newTrap(exit bool) *trap {
	t := &trap{exit: exit}
	t.left.Store(-1)
	return t
}

// set has the trap shut for the goroutine that comes after n others.
func (t *trap) set(n int32) { t.left.Store(n) }

func (t *trap) step() {
	if t.left.Load() < 0 || t.left.Add(-1) >= 0 {
		return
	}
	if t.exit {
		runtime.Goexit()
	}
	panic("of the user's code")
}

// trapped is a pool of the user's with traps in it.
type trapped struct {
	*redis.Pool
	get, send, reply, dial *trap
}

func (p *trapped) Get() redis.Conn { panic("GetContext is there") }

func (p *trapped) GetContext(ctx context.Context) (redis.Conn, error) {
	p.get.step()
	c, err := p.Pool.GetContext(ctx)
	return &trappedConn{c, p}, err
}

func (p *trapped) DialContext(context.Context) (redis.Conn, error) {
	p.dial.step()
	return p.Pool.Dial()
}

type trappedConn struct {
	redis.Conn
	p *trapped
}

func (c *trappedConn) Do(cmd string, args ...any) (any, error) {
	return c.DoWithTimeout(0, cmd, args...)
}

func (c *trappedConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	c.p.send.step()
	reply, err := redis.DoWithTimeout(c.Conn, d, cmd, args...)
	c.p.reply.step()
	return reply, err
}

func (c *trappedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *trappedConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

func (c *trappedConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, cmd, args...)
}

// falls runs f, which a trap must end unless f may return, as net/http runs a handler.
func falls(t *testing.T, mayReturn bool, f func()) {
	t.Helper()
	end := make(chan bool, 1)
	go func() {
		returned := false
		defer func() {
			recover()
			end <- returned
		}()
		f()
		returned = true
	}()
	if receive(t, "the goroutine ends", end) && !mayReturn {
		t.Fatal("the trap was not stepped into")
	}
}

// A panic of the user's code, or runtime.Goexit, that somebody recovers wedges no key: the next acquire of the Locker gets
// the lock, and so do others after its release.
func TestFairPanicsThatAreRecovered(t *testing.T) {
	type world struct {
		*fairRig
		l *redigolock.Locker
		p *trapped
		o *trap // in the Observer
	}
	release := func(k *redigolock.Lock, err error) {
		if err == nil {
			_ = k.Release(bg)
		}
	}
	acquire := func(w *world) { release(w.l.Acquire(bg, w.Key, time.Hour)) }
	tryAcquire := func(w *world) { release(w.l.TryAcquire(bg, w.Key, time.Hour)) }
	held := func(w *world) func(*world) {
		k := w.Must(w.l.Acquire(bg, w.Key, time.Hour))
		return func(*world) { _ = k.Release(bg) }
	}
	passing := func(w *world) func(*world) { // the lease must be extended first
		w.l.Cohort = redigolock.Cohort{Passes: 9, Slice: time.Hour}
		k := w.Must(w.l.Acquire(bg, w.Key, 30*time.Second))
		ctx, leave := context.WithCancel(bg)
		inBackground(func() error {
			k, err := w.l.Acquire(ctx, w.Key, time.Hour)
			if err == nil { // it came before ctx ended
				err = k.Release(bg)
			}
			return err
		})
		eventually(w.T, "somebody waits", func() bool { return redigolock.LocalWaiters(w.l, w.Key) == 1 })
		return func(w *world) {
			defer leave()
			_ = k.Release(bg)
		}
	}
	lost := func(w *world) func(*world) {
		k := w.Must(w.l.Acquire(bg, w.Key, time.Hour))
		k.KeepAlive(bg)
		w.Do("DEL", w.Key)
		return func(*world) { _ = k.Verify(bg) }
	}
	heldByOther := func(f func(*world)) func(w *world) func(*world) {
		return func(w *world) func(*world) {
			k := w.Must(w.Other().Acquire(bg, w.Key, time.Hour))
			w.T.Cleanup(func() { _ = k.Release(bg) })
			return func(w *world) {
				defer k.Release(bg)
				f(w)
			}
		}
	}
	always := func(f func(*world)) func(*world) func(*world) {
		return func(*world) func(*world) { return f }
	}
	get := func(w *world) *trap { return w.p.get }
	send := func(w *world) *trap { return w.p.send }
	reply := func(w *world) *trap { return w.p.reply }
	observer := func(w *world) *trap { return w.o }
	for name, tt := range map[string]struct {
		ready func(*world) func(*world)
		at    func(*world) *trap
	}{
		"Acquire, in Get":                        {always(acquire), get},
		"Acquire, before the command is sent":    {always(acquire), send},
		"Acquire, before the reply is read":      {always(acquire), reply},
		"Acquire, in Observer.Acquired":          {always(acquire), observer},
		"Acquire, in Observer.Contended":         {heldByOther(acquire), observer},
		"TryAcquire, in Get":                     {always(tryAcquire), get},
		"TryAcquire, before the command is sent": {always(tryAcquire), send},
		"TryAcquire, before the reply is read":   {always(tryAcquire), reply},
		"TryAcquire, in Observer.Acquired":       {always(tryAcquire), observer},
		"TryAcquire, in Observer.Contended":      {heldByOther(tryAcquire), observer},
		"Release, in Get":                        {held, get},
		"Release, before the command is sent":    {held, send},
		"Release, before the reply is read":      {held, reply},
		"Release, in the Get of a pass":          {passing, get},
		"Release, before a pass's reply is read": {passing, reply},
		"Verify, in Observer.Lost":               {lost, observer},
		"Release, in Observer.Released":          {held, observer},
	} {
		for _, exit := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "", true: ", Goexit"}[exit], func(t *testing.T) {
				t.Parallel()
				w := &world{fairRig: newFairRig(t), o: newTrap(exit)}
				w.p = &trapped{w.Server.Pool(), newTrap(exit), newTrap(exit), newTrap(exit), newTrap(exit)}
				w.l = w.Fair(w.p)
				w.l.Observer = &redigolock.Observer{
					Acquired:  func(context.Context, *redigolock.Lock, time.Duration) { w.o.step() },
					Contended: func(context.Context, string, *redigolock.HeldError) { w.o.step() },
					Lost:      func(context.Context, *redigolock.Lock, error) { w.o.step() },
					Released:  func(context.Context, *redigolock.Lock, time.Duration, error) { w.o.step() },
					GaveUp:    func(context.Context, string, time.Duration, error) {},
				}
				f := tt.ready(w)
				tt.at(w).set(0)
				inGet := exit && tt.at(w) == w.p.get // on a goroutine of its own, where it is a failed borrow
				falls(t, inGet, func() { f(w) })
				eventually(t, "nobody stays in line", func() bool { return redigolock.LocalWaiters(w.l, w.Key) == 0 })
				k := w.Got("the next", waits(bg, w.l, w.Key, time.Hour))
				w.OK(k.Release(bg))
				k = w.Must(w.Other().Acquire(bg, w.Key, time.Hour))
				w.OK(k.Release(bg))
				w.Gone()
				w.OK(w.l.Close())
			})
		}
	}
}

// A dial of the user's that ends its goroutine ends one of the subscription's: it is dialled again.
func TestFairSubscriptionWhoseDialExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		p := &trapped{r.Server.Pool(), newTrap(true), newTrap(true), newTrap(true), newTrap(true)}
		l := r.Fair(p)
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Hour))
		p.dial.set(0)
		waiter := waits(bg, l, r.Key, time.Hour)
		r.Queued(1)
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.OK(l.Close())
		if redigolock.Subscribed(l) {
			t.Error("Close leaves the subscription")
		}
	})
}
