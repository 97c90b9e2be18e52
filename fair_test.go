package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

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
				cycles := r.Contend(lockers, waiters, 300*time.Millisecond)
				after, err := r.Real().Calls()
				r.OK(err)
				sent := after["evalsha"] - before["evalsha"]
				if most := cycles + cycles/20 + int64(10*lockers); sent > most {
					t.Errorf("%d EVALSHA for %d cycles, want at most %d", sent, cycles, most)
				}
				r.Gone()
			})
		}
	}
}

// Whoever comes first is served first: among the Lockers by the server's queue, within a Locker by its own.
func TestFairServesInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		first := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		var chans []<-chan acquired
		for i := range 5 {
			chans = append(chans, waits(bg, r.Other(), r.Key, fairTestTTL))
			r.Queued(i + 1)
		}
		r.OK(first.Release(bg))
		for i, ch := range chans {
			k := r.Got(fmt.Sprintf("the waiter %d of another Locker", i), ch)
			r.OK(k.Release(bg))
		}
		l := r.Other()
		first = r.Must(l.Acquire(bg, r.Key, fairTestTTL))
		chans = chans[:0]
		for i := range 5 {
			chans = append(chans, waits(bg, l, r.Key, fairTestTTL))
			eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.Key) == i+1 })
		}
		for i, ch := range chans {
			r.OK(first.Release(bg))
			first = r.Got(fmt.Sprintf("the waiter %d of the same Locker", i), ch)
		}
		r.OK(first.Release(bg))
		r.Gone()
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
				r.Do("SET", r.Key, "foreign", "PX", 60000)
				waiter := waits(bg, r.Other(), r.Key, fairTestTTL)
				r.Queued(1)
				r.Do("DEL", r.Key)
				wants(t, acquire(r.Locker, bg, r.Key), redigolock.ErrHeld)
				r.OK(r.Got("the one that waited", waiter).Release(bg))
				r.Gone()
			})
		})
	}
}

// Without contention a cycle is two scripts, and there is no subscription.
func TestFairUncontendedCostsNoSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		for range 3 {
			r.OK(r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL)).Release(bg))
			r.OK(r.Must(r.Locker.TryAcquire(bg, r.Key, fairTestTTL)).Release(bg))
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
		k := r.Must(l.Acquire(bg, r.Key, fairTestTTL))
		waiter := waits(bg, l, r.Key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.Key) == 1 })
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		eventually(t, "the subscription ends", func() bool { return !redigolock.Subscribed(l) && redigolock.FairSlots(l) == 0 })
	})
}

// Where messages are sharded everything goes through their commands.
func TestFairSharded(t *testing.T) {
	// On a real server: miniredis has no sharded messages.
	r := newFairRig(t)
	a, b := r.Other(), r.Other()
	redigolock.Shard(a)
	redigolock.Shard(b)
	k := r.Must(a.Acquire(bg, r.Key, fairTestTTL))
	waiter := waits(bg, b, r.Key, fairTestTTL)
	r.Queued(1)
	r.OK(k.Release(bg))
	k = r.Got("the waiter", waiter)
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
		l, other := r.Other(), r.Other()
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
				t.Fatalf("%q was handed over early: %v", keys[i], a.Err)
			default:
			}
			r.OK(held[i].Release(bg))
			r.OK(r.Got(keys[i], chans[i]).Release(bg))
		}
		r.Gone()
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
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		if info, err := redigolock.Inspect(bg, c, "k"); err != nil || info.Waiters != 0 || info.Token != a.K.Token() {
			t.Errorf("%+v, %v", info, err)
		}
		if err := a.K.Release(bg); err != nil {
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
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		if got.Load() != 1 || released.Load() != 1 || contended.Load() == 0 {
			t.Errorf("acquired %d, contended %d, released %d", got.Load(), contended.Load(), released.Load())
		}
	})
}

// A wait that ends with its context is that context's cause, and ErrHeld; one that ends with Close is ErrClosed.
func TestFairGivenUpWaitSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		cause := errors.New("no longer needed")
		ctx, cancel := context.WithCancelCause(bg)
		waiter := waits(ctx, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		eventually(t, "it is told so", func() bool { return redigolock.Placed(r.Locker, r.Key) })
		cancel(cause)
		a := receive(t, "the waiter returns", waiter)
		wants(t, a.Err, cause, context.Canceled, redigolock.ErrHeld)
		wantsNot(t, a.Err, redigolock.ErrUnknown)
		r.Queued(0)
		waiter = waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(1)
		r.OK(r.Locker.Close())
		a = receive(t, "the waiter returns", waiter)
		wants(t, a.Err, redigolock.ErrClosed, redigolock.ErrHeld)
		r.Queued(0)
		_, err := r.Locker.Acquire(bg, r.Key, fairTestTTL)
		wants(t, err, redigolock.ErrClosed)
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// Close lets held locks be: their Release still hands them over.
func TestFairCloseKeepsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		own := waits(bg, r.Locker, r.Key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.Key) == 1 })
		waiter := waits(bg, r.Other(), r.Key, fairTestTTL)
		r.Queued(1)
		r.OK(r.Locker.Close())
		wants(t, receive(t, "the local waiter returns", own).Err, redigolock.ErrClosed)
		r.Valid(k)
		r.OK(k.Verify(bg))
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.Gone()
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
				r.Once("try", 1, tt.act)
				before := time.Now()
				k, err := r.Locker.TryAcquire(bg, r.Key, time.Minute)
				looks := r.Sent("fairextend")
				if len(looks) != 1 || looks[0].Conn == r.Sent("try")[0].Conn {
					t.Errorf("it looked %d times, want once on a connection of its own", len(looks))
				}
				r.OK(err)
				r.Valid(k)
				tries := r.Sent("try")
				if anew := len(tries) == 2; anew != tt.anew || anew && tries[0].Args[5] == tries[1].Args[5] {
					t.Errorf("it tried with %v", tries)
				}
				if tt.anew {
					eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(r.Locker) })
					r.Valid(k)
				}
				if k.Deadline().Before(before.Add(validFor(time.Minute))) {
					t.Errorf("Deadline is %v from before the send", k.Deadline().Sub(before))
				}
				r.OK(k.Release(bg))
				r.Gone()
			})
		})
	}
}

// A grant comes on a goroutine of the Locker's. Where that of Acquire goes on so late that nothing of the lease is left, it is ErrExpired,
// which the Observer is told once, and the lock is released.
func TestFairGrantThatItsCallerSeesTooLateIsUndone(t *testing.T) {
	const ttl = time.Minute
	for name, isHeld := range map[string]bool{"free": false, "handed on": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				var failed, gaveUp atomic.Int64
				r.Locker.Observer = &redigolock.Observer{
					Failed: func(_ context.Context, _, _ string, err error) {
						wants(t, err, redigolock.ErrExpired)
						failed.Add(1)
					},
					GaveUp: func(context.Context, string, time.Duration, error) { gaveUp.Add(1) },
				}
				redigolock.SetClock(r.Locker, func() time.Time { // from the grant on, it is late
					now := time.Now()
					if redigolock.HeldPlaces(r.Locker) > 0 {
						now = now.Add(ttl)
					}
					return now
				})
				var holder *redigolock.Lock
				if isHeld {
					holder = r.Must(r.Other().Acquire(bg, r.Key, ttl))
				}
				waiter := inBackground(func() error { _, err := r.Locker.Acquire(bg, r.Key, ttl); return err })
				if isHeld {
					r.Queued(1)
					r.OK(holder.Release(bg))
				}
				wants(t, receive(t, "the waiter", waiter), redigolock.ErrExpired)
				r.Gone()
				if n, m := failed.Load(), gaveUp.Load(); n != 1 || m != 1 {
					t.Errorf("the Observer was told %d failures and %d ends, want 1 of each", n, m)
				}
				if n := r.Locker.Stats().Held; n != 0 {
					t.Errorf("%d locks count as held", n)
				}
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
					k := r.Must(r.Other().Acquire(bg, r.Key, ttl))
					waiter := waits(bg, r.Locker, r.Key, ttl)
					r.Queued(1)
					r.OK(k.Release(bg))
					r.OK(r.Got("the waiter", waiter).Release(bg))
					r.Gone()
				}
				release := make(chan struct{})
				came := r.Once(tt.verb, 1, redistest.Hold(release))
				late := inBackground(func() error { _, err := tt.acquire(r.Locker); return err })
				<-came
				eventually(t, "it is carried out", func() bool { return r.Get(r.Key) != "" })
				clock.Add(ttl)
				close(release)
				wants(t, receive(t, "the answer", late), redigolock.ErrExpired)
				r.Gone()
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
				k := r.Must(r.Other().Acquire(bg, r.Key, time.Hour))
				waiter := waits(bg, r.Locker, r.Key, time.Hour)
				r.Queued(1)
				messages, answer := make(chan struct{}), make(chan struct{})
				r.Proxy.Rule(func(q redistest.Request) redistest.Action {
					switch {
					case q.Name == "PING" && len(q.Args) == 0:
						return redistest.Hold(messages)
					case verbOf(q) == "poke" && r.Get(r.Key) != k.Token():
						return redistest.Hold(answer)
					}
					return redistest.Pass()
				})
				time.Sleep(1100 * time.Millisecond) // a PING has come
				r.OK(k.Release(bg))
				before := r.CarriedOut("poke")
				eventually(t, "POKE is carried out", func() bool { return r.CarriedOut("poke") > before })
				close(messages)
				k = r.Got("the waiter, by the message", waiter)
				if !held {
					r.OK(k.Release(bg))
					r.Gone()
					r.Do("SET", r.Key, k.Token(), "PX", time.Hour.Milliseconds())
				}
				close(answer)
				if !held {
					r.Gone()
					return
				}
				time.Sleep(time.Second)
				r.Valid(k)
				r.OK(k.Verify(bg))
				r.OK(k.Release(bg))
				r.Gone()
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
		r.Wrap = func(p *redis.Pool) redigolock.Pool { return muxOver(t, p) }
		r.Contend(3, 24, 30*time.Millisecond)
		r.Gone()

		l := r.Fair(muxOver(t, r.Proxy.Pool()))
		l.OpTimeout = shortOp
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		r.Once("enter", 1, redistest.Drop())
		waiter := waits(bg, l, r.Key, fairTestTTL)
		r.Queued(1)
		behind := waits(bg, l, r.Key, fairTestTTL)
		eventually(t, "it waits", func() bool { return redigolock.LocalWaiters(l, r.Key) == 2 })
		r.OK(k.Release(bg))
		k = r.Got("the waiter", waiter)
		r.Once("rel", 1, redistest.Drop())
		r.OK(k.Release(bg))
		r.OK(r.Got("the one behind", behind).Release(bg))
		r.Gone()
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
				l := r.Fair(pool)
				pooled := r.idle(pool, 6)
				came := r.Once(lost, 1, redistest.Drop())
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
		r.OK(r.Must(l.Acquire(bg, r.Key, fairTestTTL)).Release(bg))
		return
	}
	k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	waiter := waits(ctx, l, r.Key, fairTestTTL)
	eventually(r.T, "it is queued", func() bool { return redigolock.Placed(l, r.Key) })
	cancel()
	wants(r.T, receive(r.T, "it gives up", waiter).Err, context.Canceled)
	r.Queued(0)
	r.OK(k.Release(bg))
}

// A lease of which less than a third is left is extended first, by as much as the next holder wants.
func TestCohortExtendsAShortLease(t *testing.T) {
	const ttl = time.Minute
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.Cohort = redigolock.Cohort{Passes: 10, Slice: 24 * time.Hour}
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		pass := func(ttl time.Duration) time.Duration {
			waiter := r.Local(ttl)
			r.OK(k.Release(bg))
			a := receive(t, "the next", waiter)
			r.OK(a.Err)
			if k = a.K; r.Get(r.Key) != k.Token() {
				t.Error("the server has another token")
			}
			return k.Deadline().Sub(c.Now())
		}
		c.Add(ttl * 7 / 10)
		r.Do("PEXPIRE", r.Key, (ttl * 3 / 10).Milliseconds()) // less than a third is left
		if left := pass(ttl); left != validFor(ttl) || r.PTTL(r.Key) < ttl/2 {
			t.Errorf("%v is left, and %v at the server", left, r.PTTL(r.Key))
		}
		n := 0
		for _, q := range r.Sent("fairextend") {
			if q.Args[len(q.Args)-1] != "1" { // else the waiter asks whether it is held still, as the time that has passed wants it
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d extends were sent", n)
		}
		if left := pass(time.Hour); left != validFor(time.Hour) || r.PTTL(r.Key) < 50*time.Minute {
			t.Errorf("with a longer ttl %v is left, and %v at the server", left, r.PTTL(r.Key))
		}
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// What is over by the local clock is not passed on, though the server would still extend it.
func TestCohortDoesNotPassPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.Cohort = redigolock.Cohort{Passes: 10, Slice: 24 * time.Hour}
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.Acquire(bg, r.Key, time.Hour))
		waiter := r.Local(fairTestTTL)
		c.Add(time.Hour)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		next := receive(t, "the next", waiter)
		r.OK(next.Err)
		if next.K.Token() == k.Token() {
			t.Error("it was passed on")
		}
		r.OK(next.K.Release(bg))
	})
}

// A pool whose connections are bound to a node has no subscription yet: whoever must wait is told.
func TestFairOnABindingPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		l := r.Fair(bindingPool{Pool: r.Server.Pool(), t: t})
		k := r.Must(l.Acquire(bg, r.Key, fairTestTTL))
		r.OK(k.Release(bg))
		k = r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		_, err := l.Acquire(bg, r.Key, fairTestTTL)
		wants(t, err, redigolock.ErrUnsupported)
		r.OK(k.Release(bg))
		r.Gone()
	})
}
