package redigolock_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// What happens to the server or to the connections costs the waiters a poke, not the lock. Of three Lockers one holds the
// lock and two wait when it happens.
func TestFairSurvivesTheServer(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		happen func(r *fairRig)
		lost   bool // the holder loses its lock
	}{
		"script flush":     {nil, func(r *fairRig) { r.Do("SCRIPT", "FLUSH") }, false},
		"subscribers cut":  {nil, func(r *fairRig) { r.Do("CLIENT", "KILL", "TYPE", "pubsub") }, false},
		"all clients cut":  {nil, func(r *fairRig) { r.Do("CLIENT", "KILL", "TYPE", "normal"); r.Do("CLIENT", "KILL", "TYPE", "pubsub") }, false},
		"flushall":         {nil, func(r *fairRig) { r.Do("FLUSHALL") }, true},
		"restart, no data": {nil, func(r *fairRig) { r.OK(r.Server.Restart()) }, true},
		"restart, its data": {[]string{"--appendonly", "yes", "--appendfsync", "always"},
			func(r *fairRig) {
				r.OK(r.Server.Restart())
				eventually(r.T, "it has loaded its data", func() bool { _, err := r.Server.Do("GET", r.key); return err == nil })
			}, false},
		"hangs for a while": {nil, func(r *fairRig) {
			r.Server.Pause()
			time.AfterFunc(300*time.Millisecond, r.Server.Resume)
		}, false},
		"queue deleted": {nil, func(r *fairRig) { r.Do("DEL", r.queue) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFairRig(t, tt.args...)
			k := r.Must(r.other().Acquire(bg, r.key, time.Hour))
			a, b := waits(bg, r.other(), r.key, fairTestTTL), waits(bg, r.Locker, r.key, fairTestTTL)
			r.queued(2)
			tt.happen(r)
			if !tt.lost {
				r.OK(k.Release(bg))
			}
			begin := time.Now()
			for range 2 {
				var x acquired
				select {
				case x = <-a:
				case x = <-b:
				case <-time.After(10 * time.Second):
					t.Fatal("nobody gets the lock")
				}
				r.OK(x.err)
				r.valid(x.k)
				if took := time.Since(begin); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				r.OK(x.k.Release(bg))
			}
			r.gone()
		})
	}
}

// While the server is away waiters wait, and it costs them nothing but that.
func TestFairServerAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.Acquire(bg, r.key, time.Hour))
		r.OK(k.Release(bg))
		r.Server.Kill()
		waiter := waits(bg, r.Locker, r.key, fairTestTTL)
		gone, cancel := context.WithTimeout(bg, 300*time.Millisecond)
		defer cancel()
		_, err := r.Locker.Acquire(gone, r.key, fairTestTTL)
		wants(t, err, context.DeadlineExceeded)
		r.OK(r.Server.Restart())
		r.OK(r.got("the waiter", waiter).Release(bg))
		r.gone()
	})
}

// Waiters that give up at random leave no entry, no lock, no slot, no goroutine behind; and the others are served.
func TestFairWaitersGiveUpAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		const lockers, waiters, enough = 4, 40, 20
		r.Server.(*testbed.SimServer).Delay(500 * time.Microsecond)
		var all []*redigolock.Locker
		for range lockers {
			all = append(all, r.fair(r.Proxy.Pool()))
		}
		var wg sync.WaitGroup
		var mu sync.Mutex // protects served, inside
		served, inside := 0, 0
		begin := time.Now()
		goOn := func() bool {
			mu.Lock()
			defer mu.Unlock()
			took := time.Since(begin)
			return took < 300*time.Millisecond || served < enough && took < 3*time.Second
		}
		for i := range waiters {
			spawn(&wg, func() {
				for goOn() {
					ctx, cancel := context.WithTimeout(bg, rand.N(30*time.Millisecond))
					k, err := all[i%lockers].Acquire(ctx, r.key, fairTestTTL)
					cancel()
					if err != nil {
						wants(t, err, context.DeadlineExceeded)
						continue
					}
					mu.Lock()
					if served++; inside != 0 {
						t.Error("two hold the lock")
					}
					inside++
					mu.Unlock()
					time.Sleep(rand.N(100 * time.Microsecond))
					mu.Lock()
					inside--
					mu.Unlock()
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		r.gone()
		if served < enough {
			t.Errorf("only %d were served", served)
		}
		for _, l := range all {
			eventually(t, "all slots go", func() bool { return redigolock.FairSlots(l) <= 1 })
			r.OK(l.Close())
			if redigolock.FairSlots(l) != 0 || redigolock.Subscribed(l) {
				t.Error("a slot or a subscription is left after Close")
			}
		}
	})
}

// After many keys nothing is left: no key on the server, no slot in the Locker, no connection more than before.
func TestFairManyKeysLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		l, other := r.other(), r.other()
		var wg sync.WaitGroup
		for i := range 4 {
			spawn(&wg, func() {
				for n := range 500 {
					key := "key-" + string(rune('a'+n%26)) + strings.Repeat("x", n/26)
					for _, locker := range []*redigolock.Locker{l, other}[i%2:] {
						k, err := locker.Acquire(bg, key, fairTestTTL)
						if err != nil {
							t.Error(err)
							return
						}
						if err := k.Release(bg); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		r.gone()
		eventually(t, "nothing is left of the keys", func() bool {
			return redigolock.FairSlots(l)+redigolock.FairSlots(other) == 0 && !redigolock.Subscribed(l) && !redigolock.Subscribed(other)
		})
	})
}

// What a user may not do is the waiter's error at once.
func TestFairRightsThatAreMissing(t *testing.T) {
	r := newFairRig(t)
	k := r.Must(r.other().Acquire(bg, r.key, time.Hour))
	for name, rights := range map[string][]any{
		"scripts":   {"~*", "&*", "+@all", "-evalsha", "-eval"},
		"queue":     {"~lock", "&*", "+@all"},
		"pubsub":    {"~*", "&*", "+@all", "-pubsub"},
		"channel":   {"~*", "resetchannels", "+@all"},
		"subscribe": {"~*", "&*", "+@all", "-subscribe"},
		"rpush":     {"~*", "&*", "+@all", "-rpush"},
	} {
		r.Do("ACL", append([]any{"SETUSER", "u", "reset", "on", ">pw"}, rights...)...)
		pool, err := redigolock.NewPool(strings.Replace(r.Real().URL(), "redis://", "redis://u:pw@", 1))
		r.OK(err)
		l := &redigolock.Locker{Pool: pool, Fair: true}
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		_, err = l.Acquire(ctx, r.key, fairTestTTL)
		if err == nil || ctx.Err() != nil {
			t.Errorf("without the right to %s: %v", name, err)
		}
		cancel()
		r.OK(l.Close())
		r.OK(pool.Close())
		r.queued(0)
	}
	r.OK(k.Release(bg))
	r.gone()
}

// The channel of a key is heard by one Locker for that key only, is in the key's cluster slot, and begins with the prefix.
func TestFairChannelsAreInjectiveAndShareTheSlot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := keyGen.Draw(t, "a")
		b := rapid.OneOf(keyGen, rapid.Just("{"+a+"}"), rapid.Just("{"+a), rapid.Just(a+"}")).Draw(t, "b")
		if _, err := redigolock.Sibling("", a, "q1"); err != nil {
			return // such a key has no queue
		}
		id := redigolock.NewToken()
		channel := redigolock.ChannelOf(id, a)
		if !strings.HasPrefix(channel, "redigolock:") {
			t.Fatalf("%q", channel)
		}
		if got, want := slotTag(channel), slotTag(a); got != want {
			t.Fatalf("channel %q hashes %q, the key %q hashes %q", channel, got, a, want)
		}
		if a != b && channel == redigolock.ChannelOf(id, b) {
			t.Fatalf("%q and %q share %q", a, b, channel)
		}
	})
}

// slotTag is the part of a key that Redis Cluster hashes.
func slotTag(key string) string {
	_, tail, ok := strings.Cut(key, "{")
	if tag, _, closed := strings.Cut(tail, "}"); ok && closed && tag != "" {
		return tag
	}
	return key
}

// Entries of another version of the format are in another queue; what cannot be read in this one is passed over.
func TestFairOtherVersionsEntriesAreNotMisread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("RPUSH", "{lock}:redigolock-q2", "9000 3 abc xyz")
		k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		r.Do("RPUSH", r.queue, "v2;token=abc;ttl=9000")
		waiter := waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(2)
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		if n := r.Do("LLEN", "{lock}:redigolock-q2"); n != int64(1) {
			t.Errorf("the other version's queue has %v entries", n)
		}
		r.Do("DEL", "{lock}:redigolock-q2")
		r.gone()
	})
}

// KeepAlive renews a fair lock, and the next waiter gets the lock when the holder's renewals end.
func TestFairKeepAlive(t *testing.T) {
	t.Parallel() // mostly it waits
	const ttl = 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.key, ttl))
		first := k.Deadline()
		kept := k.KeepAlive(bg)
		waiter := waits(bg, r.other(), r.key, fairTestTTL)
		r.queued(1)
		eventually(t, "it is renewed three times, and outlives its ttl", func() bool {
			return len(r.Sent("fairextend")) >= 3 && time.Now().After(first) || kept.Err() != nil
		})
		r.OK(kept.Err())
		r.valid(k)
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		r.gone()
	})
}

// A server that has forgotten the scripts is told them again by a renewal, too.
func TestFairKeepAliveAfterScriptFlush(t *testing.T) {
	t.Parallel() // mostly it waits
	const ttl = 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.key, ttl))
		kept := k.KeepAlive(bg)
		r.Do("SCRIPT", "FLUSH")
		deadline := k.Deadline()
		eventually(t, "it is renewed", func() bool { return k.Deadline().After(deadline) })
		r.OK(kept.Err())
		r.valid(k)
		r.OK(k.Release(bg))
		r.gone()
	})
}

// A lock that was obtained elsewhere is released as any other: it is handed over.
func TestFairAttachedLockIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("SET", r.key, "token", "PX", 60000)
		k := r.Must(r.Locker.Attach(bg, r.key, "token", fairTestTTL))
		waiter := waits(bg, r.other(), r.key, fairTestTTL)
		own := waits(bg, r.Locker, r.key, fairTestTTL)
		r.queued(2)
		r.OK(k.Release(bg))
		for range 2 {
			select {
			case x := <-waiter:
				r.OK(x.err)
				r.OK(x.k.Release(bg))
			case x := <-own:
				r.OK(x.err)
				r.OK(x.k.Release(bg))
			case <-time.After(10 * time.Second):
				t.Fatal("nobody gets the lock")
			}
		}
		r.gone()
	})
}

// A pool whose connections are bound to a node has no subscription yet: whoever must wait is told.
func TestFairOnABindingPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		l := r.fair(bindingPool{Pool: r.Server.Pool(), t: t})
		k := r.Must(l.Acquire(bg, r.key, fairTestTTL))
		r.OK(k.Release(bg))
		k = r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
		_, err := l.Acquire(bg, r.key, fairTestTTL)
		wants(t, err, redigolock.ErrUnsupported)
		r.OK(k.Release(bg))
		r.gone()
	})
}

// A renewal that finds the lock gone hands it to whoever waits.
func TestFairExtendOfALostLockHandsItOver(t *testing.T) {
	// On a real server, which counts the commands of scripts.
	r := newFairRig(t)
	k := r.Must(r.Locker.Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, r.other(), r.key, fairTestTTL)
	r.queued(1)
	r.Do("DEL", r.key)
	wants(t, k.Extend(bg, fairTestTTL), redigolock.ErrNotHeld)
	if calls, err := r.Server.Calls(); err != nil || calls["publish"] != 1 {
		t.Errorf("%d messages, %v", calls["publish"], err)
	}
	r.OK(r.got("the waiter", waiter).Release(bg))
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
}

// Do works as ever.
func TestFairDo(t *testing.T) {
	mini := redistest.StartMini(t)
	l := &redigolock.Locker{Pool: mini.Pool(), Fair: true, Cohort: redigolock.Cohort{Passes: 10}}
	defer l.Close()
	var wg sync.WaitGroup
	n := 0 // protected by the lock
	for range 20 {
		spawn(&wg, func() {
			err := l.Do(bg, "k", fairTestTTL, func(context.Context, *redigolock.Lock) error {
				n++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n != 20 {
		t.Errorf("n is %d", n)
	}
}
