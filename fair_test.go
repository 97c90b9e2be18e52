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

// A fairRig is a rig whose Locker is fair, with Lockers of other processes, so to speak, that have no proxy before them.
type fairRig struct {
	*rig
	key, queue string
	cohort     redigolock.Cohort                 // of contend's Lockers
	wrap       func(*redis.Pool) redigolock.Pool // makes the other Lockers' pools; nil: they are as they are
}

const fairTestTTL = 10 * time.Second

func newFairRig(t *testing.T, args ...string) *fairRig {
	t.Helper()
	server := redistest.Start(t, args...)
	proxy := redistest.NewProxy(t, server.Addr())
	return newFairRigOn(&rig{&testbed.Rig{T: t, Server: server, Proxy: proxy}})
}

// newSimFairRig is a fairRig in a bubble.
func newSimFairRig(t *testing.T) *fairRig {
	t.Helper()
	r := testbed.NewBareSim(t)
	r.Server.(*testbed.SimServer).Delay(fairDelay)
	return newFairRigOn(&rig{r})
}

// fairDelay lets the time go on while commands are exchanged, or those that contend for a second would never end.
const fairDelay = 50 * time.Microsecond

func newFairRigOn(bare *rig) *fairRig {
	bare.T.Helper()
	r := &fairRig{rig: bare, key: fairKey, queue: fairQueue}
	r.Locker = r.fair(r.Proxy.Pool())
	r.loadScripts()
	return r
}

// loadScripts makes each command one request.
func (r *fairRig) loadScripts() {
	for _, src := range redigolock.FairScripts {
		r.Do("SCRIPT", "LOAD", src)
	}
}

// fair makes a fair Locker that is closed with the test.
func (r *fairRig) fair(pool redigolock.Pool) *redigolock.Locker {
	l := &redigolock.Locker{Pool: pool, Fair: true}
	r.T.Cleanup(func() { l.Close() })
	return l
}

func (r *fairRig) other() *redigolock.Locker {
	if r.wrap != nil {
		return r.fair(r.wrap(r.Server.Pool()))
	}
	return r.fair(r.Server.Pool())
}

// An acquired is what an Acquire returned.
type acquired struct {
	k   *redigolock.Lock
	err error
}

// waits has a Locker acquire in the background.
func waits(ctx context.Context, l *redigolock.Locker, key string, ttl time.Duration) <-chan acquired {
	return inBackground(func() acquired {
		k, err := l.Acquire(ctx, key, ttl)
		return acquired{k, err}
	})
}

// queued waits until so many entries stand in the queue.
func (r *fairRig) queued(n int) {
	r.T.Helper()
	eventually(r.T, fmt.Sprintf("%d wait in the queue", n), func() bool { return r.Do("LLEN", r.queue) == int64(n) })
}

// got waits for an acquire that must succeed, and checks that its Deadline is not later than the server's.
func (r *fairRig) got(what string, ch <-chan acquired) *redigolock.Lock {
	r.T.Helper()
	a := receive(r.T, what, ch)
	r.OK(a.err)
	r.valid(a.k)
	return a.k
}

// valid checks that the server keeps the lock longer than its Deadline.
func (r *fairRig) valid(k *redigolock.Lock) {
	r.T.Helper()
	token, left := r.Get(k.Key()), r.PTTL(k.Key())
	if now := time.Now(); token != k.Token() {
		r.T.Errorf("the server has token %q, the handle %q", token, k.Token())
	} else if k.Deadline().After(now.Add(left)) {
		r.T.Errorf("Deadline is %v after the server's end", k.Deadline().Sub(now.Add(left)))
	}
}

// gone checks that nothing is left on the server, but for what those who have waited for long have beaten in, for a minute.
func (r *fairRig) gone() {
	r.T.Helper()
	eventually(r.T, "no key is left", func() bool {
		keys, err := redis.Strings(r.Server.Do("KEYS", "*"))
		return err == nil && len(slices.DeleteFunc(keys, isBeats)) == 0
	})
}

// isBeats reports whether key is what the waiters of another key beat in.
func isBeats(key string) bool { return strings.HasSuffix(key, ":redigolock-h2") }

// What a fair Locker cannot do is ErrInvalid before anything is sent.
func TestFairCheck(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.StartMini(t).Addr())
	cohort := redigolock.Cohort{Passes: 1}
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	for name, tt := range map[string]struct {
		l   *redigolock.Locker
		key string
	}{
		"AcquireWith":             {&redigolock.Locker{Fair: true, AcquireWith: redigolock.SetNX}, "k"},
		"ReleaseWith":             {&redigolock.Locker{Fair: true, ReleaseWith: redigolock.Release}, "k"},
		"Retry":                   {&redigolock.Locker{Fair: true, Retry: redigolock.DefaultRetry}, "k"},
		"negative Passes":         {&redigolock.Locker{Fair: true, Cohort: redigolock.Cohort{Passes: -1}}, "k"},
		"negative Slice":          {&redigolock.Locker{Fair: true, Cohort: redigolock.Cohort{Passes: 1, Slice: -1}}, "k"},
		"Cohort without Fair":     {&redigolock.Locker{Cohort: cohort}, "k"},
		"an Owner with a space":   {&redigolock.Locker{Fair: true, Owner: "a b"}, "k"},
		"a negative OpTimeout":    {&redigolock.Locker{Fair: true, OpTimeout: -1}, "k"},
		"an empty key":            {&redigolock.Locker{Fair: true}, ""},
		"a key without a sibling": {&redigolock.Locker{Fair: true}, "k}"},
	} {
		tt.l.Pool = proxy.Pool()
		for verb, acquire := range fairAcquires {
			if err := acquire(tt.l, ctx, tt.key); !errors.Is(err, redigolock.ErrInvalid) {
				t.Errorf("%s, %s: %v", name, verb, err)
			}
		}
	}
	if sent := proxy.Requests(); len(sent) > 0 {
		t.Errorf("%v was sent", sent)
	}
}

// A contended cycle is one EVALSHA, whatever the number of waiters, in one process and in four.
func TestFairOneScriptForEachContendedCycle(t *testing.T) {
	// In real time: it counts what a server did in it.
	for _, lockers := range []int{1, 4} {
		for _, waiters := range []int{8, 128} {
			t.Run(fmt.Sprintf("%d waiters in %d Lockers", waiters, lockers), func(t *testing.T) {
				r := newFairRig(t)
				before, err := r.Real().Calls()
				r.OK(err)
				cycles := r.contend(lockers, waiters, 300*time.Millisecond)
				after, err := r.Real().Calls()
				r.OK(err)
				sent := after["evalsha"] - before["evalsha"]
				if most := cycles + cycles/20 + int64(10*lockers); sent > most {
					t.Errorf("%d EVALSHA for %d cycles, want at most %d", sent, cycles, most)
				}
				r.gone()
			})
		}
	}
}

// contend has waiters take the lock in turn for d, and returns how often. No two of them hold it at a time, and none of them
// starves.
func (r *fairRig) contend(lockers, waiters int, d time.Duration) int64 {
	r.T.Helper()
	var all []*redigolock.Locker
	for range lockers {
		l := r.other()
		l.Cohort = r.cohort
		all = append(all, l)
	}
	var wg sync.WaitGroup
	var inside, cycles atomic.Int64
	counts := make([]int64, waiters)
	start := make(chan struct{}) // for all, or the first would have it often before the last comes
	var end time.Time
	for i := range waiters {
		wg.Go(func() {
			<-start
			for time.Now().Before(end) {
				k, err := all[i%lockers].Acquire(bg, r.key, fairTestTTL)
				if err != nil {
					r.T.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					r.T.Error("two hold the lock")
				}
				counts[i]++
				inside.Add(-1)
				if err := k.Release(bg); err != nil {
					r.T.Error(err)
				}
			}
		})
	}
	end = time.Now().Add(d)
	close(start)
	wg.Wait()
	least, most := counts[0], counts[0]
	for _, n := range counts {
		cycles.Add(n)
		least, most = min(least, n), max(most, n)
	}
	if most > 2*least+10+4*int64(r.cohort.Passes) {
		r.T.Errorf("one waiter had the lock %d times, another %d times", most, least)
	}
	for _, l := range all {
		r.OK(l.Close())
	}
	return cycles.Load()
}

// Whoever comes first is served first: among the Lockers by the server's queue, within a Locker by its own.
func TestFairServesInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		first := r.Must(r.Locker.Acquire(bg, r.key, fairTestTTL))
		var chans []<-chan acquired
		for i := range 5 {
			chans = append(chans, waits(bg, r.other(), r.key, fairTestTTL))
			r.queued(i + 1)
		}
		r.OK(first.Release(bg))
		for i, ch := range chans {
			k := r.got(fmt.Sprintf("the waiter %d of another Locker", i), ch)
			r.OK(k.Release(bg))
		}
		l := r.other()
		first = r.Must(l.Acquire(bg, r.key, fairTestTTL))
		chans = chans[:0]
		for i := range 5 {
			chans = append(chans, waits(bg, l, r.key, fairTestTTL))
			eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.key) == i+1 })
		}
		for i, ch := range chans {
			r.OK(first.Release(bg))
			first = r.got(fmt.Sprintf("the waiter %d of the same Locker", i), ch)
		}
		r.OK(first.Release(bg))
		r.gone()
	})
}

// Nobody overtakes the queue: neither TryAcquire, nor an Acquire that has just come, when the lock was deleted by hand.
func TestFairNobodyOvertakesTheQueue(t *testing.T) {
	for name, acquire := range map[string]func(*redigolock.Locker, context.Context, string) error{
		"TryAcquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
			_, err := l.TryAcquire(ctx, key, fairTestTTL)
			return err
		},
		"Acquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := l.Acquire(ctx, key, fairTestTTL)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Do("SET", r.key, "foreign", "PX", 60000)
				waiter := waits(bg, r.other(), r.key, fairTestTTL)
				r.queued(1)
				r.Do("DEL", r.key)
				wants(t, acquire(r.Locker, bg, r.key), redigolock.ErrHeld)
				r.OK(r.got("the one that waited", waiter).Release(bg))
				r.gone()
			})
		})
	}
}

// Without contention a cycle is two scripts, and there is no subscription.
func TestFairUncontendedCostsNoSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		for range 3 {
			r.OK(r.Must(r.Locker.Acquire(bg, r.key, fairTestTTL)).Release(bg))
			r.OK(r.Must(r.Locker.TryAcquire(bg, r.key, fairTestTTL)).Release(bg))
		}
		for _, q := range r.Proxy.Requests() {
			if verb := verbOf(q); verb != "try" && verb != "rel" {
				t.Errorf("%s was sent", verb)
			}
		}
		if n := len(r.Proxy.Requests()); n != 12 {
			t.Errorf("%d requests for 6 cycles", n)
		}
		if n := redigolock.FairSlots(r.Locker); n != 0 {
			t.Errorf("%d slots are left", n)
		}
	})
}

// The subscription ends by itself some seconds after the last wait, and with it all goroutines.
func TestFairSubscriptionEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		l := &redigolock.Locker{Pool: r.Server.Pool(), Fair: true} // never closed
		k := r.Must(l.Acquire(bg, r.key, fairTestTTL))
		waiter := waits(bg, l, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.key) == 1 })
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		eventually(t, "the subscription ends", func() bool { return !redigolock.Subscribed(l) && redigolock.FairSlots(l) == 0 })
	})
}

// Where messages are sharded everything goes through their commands.
func TestFairSharded(t *testing.T) {
	// On a real server: miniredis has no sharded messages.
	r := newFairRig(t)
	a, b := r.other(), r.other()
	redigolock.Shard(a)
	redigolock.Shard(b)
	k := r.Must(a.Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, b, r.key, fairTestTTL)
	r.queued(1)
	r.OK(k.Release(bg))
	k = r.got("the waiter", waiter)
	r.OK(k.Extend(bg, 2*fairTestTTL))
	r.OK(k.Release(bg))
	calls, err := r.Server.Calls()
	r.OK(err)
	if calls["spublish"] != 1 || calls["publish"] != 0 || calls["ssubscribe"] == 0 || calls["subscribe"] != 0 {
		t.Errorf("spublish %d, publish %d, ssubscribe %d, subscribe %d", calls["spublish"], calls["publish"], calls["ssubscribe"], calls["subscribe"])
	}
}

// Keys of all forms have queues of their own.
func TestFairKeysDoNotShareAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		l, other := r.other(), r.other()
		keys := []string{"a", "{a}", "a{", "{a}b", "b{a}", "\x00\xff \n"}
		var held []*redigolock.Lock
		var chans []<-chan acquired
		for _, key := range keys {
			held = append(held, r.Must(l.Acquire(bg, key, fairTestTTL)))
			chans = append(chans, waits(bg, other, key, fairTestTTL))
		}
		c := r.Server.Pool().Get()
		defer c.Close()
		for i, key := range keys {
			eventually(t, "one waits for each key", func() bool {
				info, err := redigolock.Inspect(bg, c, key)
				return err == nil && info.Waiters == 1 && info.Token == held[i].Token()
			})
		}
		for i := range keys {
			select {
			case a := <-chans[i]:
				t.Fatalf("%q was handed over early: %v", keys[i], a.err)
			default:
			}
			r.OK(held[i].Release(bg))
			r.OK(r.got(keys[i], chans[i]).Release(bg))
		}
		r.gone()
	})
}

// Inspect counts the Lockers that wait, and says 0 where the user has no right to the queue.
func TestFairInspectShowsTheWaiters(t *testing.T) {
	onFairServers(t, func(t *testing.T, pool *redis.Pool) {
		l, other := &redigolock.Locker{Pool: pool, Fair: true}, &redigolock.Locker{Pool: pool, Fair: true}
		defer l.Close()
		defer other.Close()
		k, err := l.Acquire(bg, "k", fairTestTTL)
		if err != nil {
			t.Fatal(err)
		}
		waiter := waits(bg, other, "k", fairTestTTL)
		c := pool.Get()
		defer c.Close()
		eventually(t, "one waits", func() bool {
			info, err := redigolock.Inspect(bg, c, "k")
			return err == nil && info.Waiters == 1 && info.Held && info.Token == k.Token()
		})
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := receive(t, "the waiter gets it", waiter)
		if a.err != nil {
			t.Fatal(a.err)
		}
		if info, err := redigolock.Inspect(bg, c, "k"); err != nil || info.Waiters != 0 || info.Token != a.k.Token() {
			t.Errorf("%+v, %v", info, err)
		}
		if err := a.k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// The Observer is told what happens.
func TestFairObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		var got, contended, released atomic.Int64
		r.Locker.Observer = &redigolock.Observer{
			Acquired:  func(context.Context, *redigolock.Lock, time.Duration) { got.Add(1) },
			Contended: func(context.Context, string, *redigolock.HeldError) { contended.Add(1) },
			Released:  func(context.Context, *redigolock.Lock, time.Duration, error) { released.Add(1) },
		}
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		if got.Load() != 1 || released.Load() != 1 || contended.Load() == 0 {
			t.Errorf("acquired %d, contended %d, released %d", got.Load(), contended.Load(), released.Load())
		}
	})
}

// A wait that ends with its context is that context's cause, and ErrHeld; one that ends with Close is ErrClosed.
func TestFairGivenUpWaitSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		cause := errors.New("no longer needed")
		ctx, cancel := context.WithCancelCause(bg)
		waiter := waits(ctx, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		eventually(t, "it is told so", func() bool { return redigolock.Placed(r.Locker, r.key) })
		cancel(cause)
		a := receive(t, "the waiter returns", waiter)
		wants(t, a.err, cause, context.Canceled, redigolock.ErrHeld)
		wantsNot(t, a.err, redigolock.ErrUnknown)
		r.queued(0)
		waiter = waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(1)
		r.OK(r.Locker.Close())
		a = receive(t, "the waiter returns", waiter)
		wants(t, a.err, redigolock.ErrClosed, redigolock.ErrHeld)
		r.queued(0)
		_, err := r.Locker.Acquire(bg, r.key, fairTestTTL)
		wants(t, err, redigolock.ErrClosed)
		r.OK(k.Release(bg))
		r.gone()
	})
}

// Close lets held locks be: their Release still hands them over.
func TestFairCloseKeepsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.key, fairTestTTL))
		own := waits(bg, r.Locker, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 1 })
		waiter := waits(bg, r.other(), r.key, fairTestTTL)
		r.queued(1)
		r.OK(r.Locker.Close())
		wants(t, receive(t, "the local waiter returns", own).err, redigolock.ErrClosed)
		r.valid(k)
		r.OK(k.Verify(bg))
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		r.gone()
	})
}

// TryAcquire of a fair Locker whose reply is lost looks once more, on a connection of its own. What it finds counts from that
// look; what it does not find it leaves to the clean-up.
func TestFairTryAcquireLooksAgainAfterALostReply(t *testing.T) {
	for name, tt := range map[string]struct {
		act  redistest.Action
		anew bool // with a new token
	}{
		"carried out":     {redistest.Drop(), false},
		"not carried out": {redistest.Cut(), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = shortOp
				r.once("try", 1, tt.act)
				before := time.Now()
				k, err := r.Locker.TryAcquire(bg, r.key, time.Minute)
				looks := r.Sent("fairextend")
				if len(looks) != 1 || looks[0].Conn == r.Sent("try")[0].Conn {
					t.Errorf("it looked %d times, want once on a connection of its own", len(looks))
				}
				r.OK(err)
				r.valid(k)
				tries := r.Sent("try")
				if anew := len(tries) == 2; anew != tt.anew || anew && tries[0].Args[5] == tries[1].Args[5] {
					t.Errorf("it tried with %v", tries)
				}
				if tt.anew {
					eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(r.Locker) })
					r.valid(k)
				}
				if k.Deadline().Before(before.Add(validFor(time.Minute))) {
					t.Errorf("Deadline is %v from before the send", k.Deadline().Sub(before))
				}
				r.OK(k.Release(bg))
				r.gone()
			})
		})
	}
}

// A grant that is told so late that nothing of its ttl is left is ErrExpired, which the Observer is told once, and the lock is
// released.
func TestFairGrantThatIsToldTooLateIsUndone(t *testing.T) {
	const ttl = time.Minute
	for name, tt := range map[string]struct {
		verb    string
		acquire func(*redigolock.Locker) (*redigolock.Lock, error)
	}{
		"TryAcquire": {"try", func(l *redigolock.Locker) (*redigolock.Lock, error) { return l.TryAcquire(bg, fairKey, ttl) }},
		"Acquire":    {"try", func(l *redigolock.Locker) (*redigolock.Lock, error) { return l.Acquire(bg, fairKey, ttl) }},
		"Acquire while subscribed": {"enter", func(l *redigolock.Locker) (*redigolock.Lock, error) {
			return l.Acquire(bg, fairKey, ttl)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = time.Minute
				var failed atomic.Int64
				r.Locker.Observer = &redigolock.Observer{Failed: func(_ context.Context, _, verb string, err error) {
					wants(t, err, redigolock.ErrExpired)
					if failed.Add(1); verb != "acquire" {
						t.Errorf("%s has failed", verb)
					}
				}}
				clock := stopClock(r.Locker)
				if tt.verb == "enter" {
					k := r.Must(r.other().Acquire(bg, r.key, ttl))
					waiter := waits(bg, r.Locker, r.key, ttl)
					r.queued(1)
					r.OK(k.Release(bg))
					r.OK(r.got("the waiter", waiter).Release(bg))
					r.gone()
				}
				release := make(chan struct{})
				came := r.once(tt.verb, 1, redistest.Hold(release))
				late := inBackground(func() error { _, err := tt.acquire(r.Locker); return err })
				<-came
				eventually(t, "it is carried out", func() bool { return r.Get(r.key) != "" })
				clock.Add(ttl)
				close(release)
				wants(t, receive(t, "the answer", late), redigolock.ErrExpired)
				r.gone()
				if n := failed.Load(); n != 1 {
					t.Errorf("the Observer was told %d failures, want 1", n)
				}
			})
		})
	}
}

// The connection breaks late, and the next dial hangs.
func TestFairTryAcquireLooksAgainWithinTheSameOpTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: true})
		s.Next("try", sim.Late(time.Hour))
		time.AfterFunc(900*time.Millisecond, func() {
			s.CloseConns()
			s.HangDials()
		})
		inTime(t, "TryAcquire", redigolock.DefaultOpTimeout, func() {
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
		})
	})
}

// A POKE's "granted" may come when its token was granted by a message. While that lock is held it is no news, and the lock stays.
// When it was released, and a failover has lost that release, it is the only reply that tells: the token is released again.
func TestFairLateGrantedOfATokenThatAMessageGranted(t *testing.T) {
	for name, held := range map[string]bool{"held": true, "released": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = time.Minute
				k := r.Must(r.other().Acquire(bg, r.key, time.Hour))
				waiter := waits(bg, r.Locker, r.key, time.Hour)
				r.queued(1)
				messages, answer := make(chan struct{}), make(chan struct{})
				r.Proxy.Rule(func(q redistest.Request) redistest.Action {
					switch {
					case q.Name == "PING" && len(q.Args) == 0:
						return redistest.Hold(messages)
					case verbOf(q) == "poke" && r.Get(r.key) != k.Token():
						return redistest.Hold(answer)
					}
					return redistest.Pass()
				})
				time.Sleep(1100 * time.Millisecond) // a PING has come
				r.OK(k.Release(bg))
				before := r.CarriedOut("poke")
				eventually(t, "POKE is carried out", func() bool { return r.CarriedOut("poke") > before })
				close(messages)
				k = r.got("the waiter, by the message", waiter)
				if !held {
					r.OK(k.Release(bg))
					r.gone()
					r.Do("SET", r.key, k.Token(), "PX", time.Hour.Milliseconds())
				}
				close(answer)
				if !held {
					r.gone()
					return
				}
				time.Sleep(time.Second)
				r.valid(k)
				r.OK(k.Verify(bg))
				r.OK(k.Release(bg))
				r.gone()
			})
		})
	}
}

// A lost TRY of TryAcquire may be carried out just before the next one, which then says that its token has the lock. That is no
// other holder: the outcome is unknown, and the lock is released.
func TestFairTryAcquireFindsItsOwnLateTry(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		l := simFair(t, s)
		release := make(chan struct{})
		s.Rule(func(q sim.Request) sim.Action {
			switch {
			case q.Verb == "try" && q.N == 1:
				return sim.LateUntil(release)
			case q.Verb == "try":
				close(release)
				return sim.Late(time.Millisecond)
			case q.Verb == "rel" && q.N == 1: // on another connection
				return sim.Late(10 * time.Millisecond)
			}
			return sim.Pass()
		})
		time.AfterFunc(100*time.Millisecond, s.CloseConns)
		_, err := l.TryAcquire(bg, "key", time.Hour)
		wants(t, err, redigolock.ErrUnknown)
		var held *redigolock.HeldError
		if errors.As(err, &held) {
			t.Errorf("%v names a holder", err)
		}
		if n := s.Count("try"); n != 2 {
			t.Errorf("TRY was sent %d times: this test shows nothing", n)
		}
		time.Sleep(3 * redigolock.DefaultOpTimeout)
		if s.Miniredis().Exists("key") {
			t.Error("the key is left")
		}
	})
}

// Over a Mux a fair Locker does what it does over a pool: it serves many, survives a connection that breaks under all of
// them, and leaves nothing.
func TestFairOverAMux(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.wrap = func(p *redis.Pool) redigolock.Pool { return muxOver(t, p) }
		r.contend(3, 24, 30*time.Millisecond)
		r.gone()

		l := r.fair(muxOver(t, r.Proxy.Pool()))
		l.OpTimeout = shortOp
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		r.once("enter", 1, redistest.Drop())
		waiter := waits(bg, l, r.key, fairTestTTL)
		r.queued(1)
		behind := waits(bg, l, r.key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.key) == 2 })
		r.OK(k.Release(bg))
		k = r.got("the waiter", waiter)
		r.once("rel", 1, redistest.Drop())
		r.OK(k.Release(bg))
		r.OK(r.got("the one behind", behind).Release(bg))
		r.gone()
		r.oncePerToken()
	})
}

func muxOver(t *testing.T, p *redis.Pool) *redigolock.Mux {
	m := &redigolock.Mux{Pool: p}
	t.Cleanup(func() { m.Close() })
	return m
}

// After an outcome that is unknown the next command does not take its chance with another connection of the pool, which may be
// broken as well: it dials.
func TestFairUnknownOutcomeIsAskedForOnANewConnection(t *testing.T) {
	for lost, next := range map[string]string{"try": "poke", "enter": "poke", "rel": "rel", "quit": "quit"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				pool := r.Proxy.Pool()
				l := r.fair(pool)
				pooled := r.idle(pool, 6)
				came := r.once(lost, 1, redistest.Drop())
				r.sends(l, lost)
				<-came
				n := 1
				if next != lost {
					n = 0
				}
				eventually(t, "it asks", func() bool { return len(r.Sent(next)) > n })
				if !pooled[r.Sent(lost)[0].Conn] {
					t.Errorf("%s was not sent on a connection of the pool", lost)
				}
				if pooled[r.Sent(next)[n].Conn] {
					t.Errorf("%s was sent on a connection of the pool", next)
				}
			})
		})
	}
}

// sends has a Locker send the verb.
func (r *fairRig) sends(l *redigolock.Locker, verb string) {
	r.T.Helper()
	if verb == "try" || verb == "rel" {
		r.OK(r.Must(l.Acquire(bg, r.key, fairTestTTL)).Release(bg))
		return
	}
	k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	waiter := waits(ctx, l, r.key, fairTestTTL)
	eventually(r.T, "it is queued", func() bool { return redigolock.Placed(l, r.key) })
	cancel()
	wants(r.T, receive(r.T, "it gives up", waiter).err, context.Canceled)
	r.queued(0)
	r.OK(k.Release(bg))
}
