package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

func TestDeadlineIsTheTimeBeforeTheSendPlusTTLLessDrift(t *testing.T) {
	for _, a := range acquireWays {
		for _, ttl := range []time.Duration{10 * time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith = a.With
				c := stopClock(r.Locker)
				start := c.Now()
				k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
				if got := k.Deadline().Sub(start); got != validFor(ttl) {
					t.Errorf("%s: ttl %v is good for %v, want %v", a.Name, ttl, got, validFor(ttl))
				}
			})
		}
	}
}

func TestDeadlineDoesNotMoveWithTheReply(t *testing.T) {
	for _, a := range acquireWays {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith = a.With
				c := stopClock(r.Locker)
				learns(t, r.Locker)
				start := c.Now()
				release := make(chan struct{})
				arrived := make(chan struct{})
				r.Rule(func(verb string, n int) redistest.Action {
					if verb != a.Verb {
						return redistest.Pass()
					}
					close(arrived)
					return redistest.Hold(release)
				})
				got := inBackground(func() *redigolock.Lock { return r.Must(r.Locker.TryAcquire(bg, "key", time.Minute)) })
				receive(t, "the acquire is sent", arrived)
				c.Add(20 * time.Second)
				close(release)
				if k := receive(t, "the acquire returns", got); k.Deadline().Sub(start) != validFor(time.Minute) {
					t.Errorf("a reply 20 s late gives a Deadline %v after the send", k.Deadline().Sub(start))
				}
			})
		})
	}
}

func TestDeadlineCountsFromTheTryThatWon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		r.Do("SET", "key", "another's", "PX", 60000)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			c.Add(10 * time.Second)
			if attempt == 3 {
				r.Do("DEL", "key")
			}
			return 0
		}
		k := r.Must(r.Locker.Acquire(bg, "key", time.Minute))
		if want := c.Now().Add(validFor(time.Minute)); !k.Deadline().Equal(want) {
			t.Errorf("Deadline is %v off", k.Deadline().Sub(want))
		}
	})
}

func TestDeadlineDoesNotCountTheWaitForTheReplyThoughTheWaitForThePoolIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool = pool
		c := stopClock(r.Locker)
		busy := pool.Get()
		got := inBackground(func() *redigolock.Lock { return r.Must(r.Locker.TryAcquire(bg, "key", time.Minute)) })
		eventually(t, "the acquire waits for the pool", func() bool { return running(").waitVacantConn(") })
		c.Add(30 * time.Second)
		busy.Close()
		k := receive(t, "the acquire returns", got)
		if want := c.Now().Add(validFor(time.Minute)); !k.Deadline().Equal(want) {
			t.Errorf("Deadline is %v off", k.Deadline().Sub(want))
		}
	})
}

func TestAcquireWonTooLateIsUndoneAndErrExpired(t *testing.T) {
	for _, a := range acquireWays {
		for _, late := range []time.Duration{validFor(time.Minute), time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith = a.With
				c := stopClock(r.Locker)
				r.Rule(func(verb string, n int) redistest.Action {
					if verb == a.Verb {
						c.Add(late)
					}
					return redistest.Pass()
				})
				k, err := r.Locker.TryAcquire(bg, "key", time.Minute)
				wants(t, err, redigolock.ErrExpired)
				wantsNot(t, err, redigolock.ErrUnknown)
				if k != nil || r.Get("key") != "" {
					t.Errorf("%s: handle %v, the key holds %q", a.Name, k, r.Get("key"))
				}
				_, err = r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute)
				wants(t, err, redigolock.ErrExpired)
			})
		}
	}
}

func TestAcquireWonJustInTimeIsALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "set" && n == 1 {
				c.Add(validFor(time.Minute) - 1)
			}
			return redistest.Pass()
		})
		r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	})
}

func TestUndoingALateAcquireIsNotStoppedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		r.Locker.AcquireWith = afterSetNX(func() {
			c.Add(time.Hour)
			cancel()
		})
		_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrExpired)
		if r.Get("key") != "" {
			t.Error("the key was left")
		}
	})
}

// mustNotBeHeld checks that the handle says ErrNotHeld everywhere, and without any I/O.
func mustNotBeHeld(t *testing.T, r *rig, k *redigolock.Lock) {
	t.Helper()
	r.Silent("a handle that is over", func() {
		wants(t, k.Verify(bg), redigolock.ErrNotHeld)
		wants(t, k.Extend(bg, time.Minute), redigolock.ErrNotHeld)
		n, err := k.Fence(bg)
		wants(t, err, redigolock.ErrNotHeld)
		if n != 0 {
			t.Errorf("fence %d for a lock that is over", n)
		}
	})
}

func TestPassedDeadlineIsLatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		c.Add(validFor(time.Minute) - 1)
		r.OK(k.Verify(bg))
		c.Add(1)
		mustNotBeHeld(t, r, k)
		c.Add(-time.Minute) // whatever the clock says later
		mustNotBeHeld(t, r, k)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent, want 1", n)
		}
		if r.Get("key") != "" {
			t.Error("Release after Deadline left what it could remove")
		}
	})
}

func TestEitherClockEndsALock(t *testing.T) {
	for name, move := range map[string]func(*clock, *testing.T, time.Duration){
		"wall clock":      (*clock).AddWall,
		"monotonic clock": (*clock).AddMonotonic,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := stopClock(r.Locker)
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			move(c, t, 59*time.Second)
			r.OK(k.Verify(bg))
			move(c, t, time.Second)
			mustNotBeHeld(t, r, k)
		})
	}
}

func TestWallClockSteppingBackProlongsNothing(t *testing.T) {
	r := newRig(t)
	c := stopClock(r.Locker)
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	c.AddWall(t, -time.Hour)
	r.OK(k.Verify(bg))
	c.AddMonotonic(t, time.Minute)
	mustNotBeHeld(t, r, k)
}

func TestAnswerThatComesAfterDeadlineDoesNotReviveTheLock(t *testing.T) {
	for _, verb := range []string{"extend", "verify", "fence"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				c := stopClock(r.Locker)
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				old := k.Deadline()
				r.Rule(func(v string, n int) redistest.Action {
					if v == verb {
						c.Add(time.Minute)
					}
					return redistest.Pass()
				})
				var err error
				switch verb {
				case "extend":
					err = k.Extend(bg, time.Hour)
				case "verify":
					err = k.Verify(bg)
				case "fence":
					_, err = k.Fence(bg)
				}
				wants(t, err, redigolock.ErrNotHeld)
				if !k.Deadline().Equal(old) {
					t.Errorf("Deadline moved by %v", k.Deadline().Sub(old))
				}
				mustNotBeHeld(t, r, k)
			})
		})
	}
}

func TestExtendCountsFromBeforeTheSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		c.Add(10 * time.Second)
		start := c.Now()
		r.Rule(func(verb string, n int) redistest.Action {
			c.Add(20 * time.Second)
			return redistest.Pass()
		})
		r.OK(k.Extend(bg, time.Minute))
		if got := k.Deadline().Sub(start); got != validFor(time.Minute) {
			t.Errorf("Deadline is %v after the send, want %v", got, validFor(time.Minute))
		}
	})
}

func TestExtendWithAShorterTTLChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		old := k.Deadline()
		r.OK(k.Extend(bg, 10*time.Second))
		if !k.Deadline().Equal(old) {
			t.Errorf("Deadline moved by %v", k.Deadline().Sub(old))
		}
		if left := r.PTTL("key"); left < 30*time.Second {
			t.Errorf("a shorter extend left %v of a minute", left)
		}
	})
}

func TestExtendNeverCreatesTheKey(t *testing.T) { // redsync's WithSetNXOnExtend does
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Do("DEL", "key")
		wants(t, k.Extend(bg, time.Minute), redigolock.ErrNotHeld)
		if r.Get("key") != "" {
			t.Error("Extend created the key")
		}
		mustNotBeHeld(t, r, k)
	})
}

func TestExtendOfUnknownOutcomeLeavesDeadlineAndCanBeCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		old := k.Deadline()
		r.Plan(map[string][]redistest.Action{"extend": {redistest.Drop(), redistest.Drop()}})
		wants(t, k.Extend(bg, time.Hour), redigolock.ErrUnknown)
		if !k.Deadline().Equal(old) {
			t.Errorf("Deadline moved by %v", k.Deadline().Sub(old))
		}
		r.OK(k.Extend(bg, time.Hour))
		if k.Deadline().Sub(old) < 50*time.Minute {
			t.Error("the second Extend did not move Deadline")
		}
	})
}

func TestServersNotHeldEndsTheHandle(t *testing.T) {
	for name, use := range lockUses() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				r.Do("SET", "key", k.Token()+"0", "PX", 60000) // ours is a prefix of the other one
				wants(t, use(bg, k), redigolock.ErrNotHeld)
				r.Do("SET", "key", k.Token(), "PX", 60000) // too late: others were told that it is over
				mustNotBeHeld(t, r, k)
			})
		})
	}
}

func TestConflictOfAHeldKey(t *testing.T) {
	for name, use := range lockUses() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
				r.Do("PERSIST", "key")
				wants(t, use(bg, k), redigolock.ErrConflict)
				r.Do("DEL", "key")
				r.Do("RPUSH", "key", k.Token())
				wants(t, use(bg, k), redigolock.ErrConflict)
				mustNotBeHeld(t, r, k) // without its TTL it was still the holder's, a list is not
			})
		})
	}
}

// A handle that no acquire has returned is one that nobody holds, twice over.
func TestNilAndZeroLock(t *testing.T) {
	for name, k := range map[string]*redigolock.Lock{"nil": nil, "zero": {}} {
		for range 2 {
			if k.Key() != "" || k.Token() != "" || k.String() != "" || !k.Deadline().IsZero() || k.Valid() {
				t.Errorf("%s: %q %q %q %v %v", name, k.Key(), k.Token(), k.String(), k.Deadline(), k.Valid())
			}
			if text := fmt.Sprintf("%v%+v%#v%s%d", k, k, k, k, k); text != "" || k.LogValue().String() != "" {
				t.Errorf("%s is shown as %q", name, text)
			}
			_, fenceErr := k.Fence(bg)
			kept := k.KeepAlive(bg)
			if kept.Err() == nil {
				t.Errorf("%s: the context of KeepAlive has not ended", name)
			}
			for what, err := range map[string]error{
				"Verify": k.Verify(bg), "Extend": k.Extend(bg, minute), "Fence": fenceErr, "Release": k.Release(bg),
				"KeepAlive": context.Cause(kept),
			} {
				if !errors.Is(err, redigolock.ErrNotHeld) {
					t.Errorf("%s.%s: %v", name, what, err)
				}
			}
			var none context.Context
			wants(t, k.Verify(none), redigolock.ErrInvalid)
			wants(t, k.Release(none), redigolock.ErrInvalid)
			wants(t, context.Cause(k.KeepAlive(none)), redigolock.ErrInvalid)
		}
	}
}

// After a Release whose ReleaseFunc panics the next calls return, and what it has left is removed without that func.
func TestReleaseThatPanicsLeavesAUsableHandle(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{
			Pool:        simPool(t, s, "redis"),
			ReleaseWith: func(context.Context, redis.Conn, string, string) error { panic("mine") },
		})
		k, err := l.TryAcquire(bg, "k", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("recovered %v", r)
				}
			}()
			_ = k.Release(bg)
		}()
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		wants(t, k.Verify(bg), redigolock.ErrNotHeld)
		if k.Valid() {
			t.Error("valid after Release")
		}
		time.Sleep(10 * time.Second)
		if n, _ := s.Do("EXISTS", "k"); n != int64(0) {
			t.Error("the key is left")
		}
	})
}

func TestValid(t *testing.T) {
	for name, end := range map[string]func(*rig, *clock, *redigolock.Lock){
		"released":            func(r *rig, _ *clock, k *redigolock.Lock) { _ = k.Release(bg) },
		"the monotonic clock": func(r *rig, c *clock, k *redigolock.Lock) { c.Add(k.Deadline().Sub(c.Now())) },
		"the wall clock":      func(r *rig, c *clock, k *redigolock.Lock) { c.AddWall(r.T, minute) },
		"deleted": func(r *rig, _ *clock, k *redigolock.Lock) {
			_, _ = r.Server.Do("DEL", k.Key())
			_ = k.Verify(bg)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			clock := stopClock(r.Locker)
			k, err := r.Locker.TryAcquire(bg, "k", minute)
			if err != nil {
				t.Fatal(err)
			}
			if !k.Valid() {
				t.Error("not valid when it was acquired")
			}
			end(r, clock, k)
			if k.Valid() {
				t.Error("valid")
			}
			if name == "the wall clock" && !clock.Now().Before(k.Deadline()) {
				t.Error("this test shows nothing: the monotonic clock has passed Deadline, too")
			}
			clock.AddWall(t, -10*minute)
			if k.Valid() {
				t.Error("valid again")
			}
		})
	}
}

// A context of KeepAlive that has ended with ErrLost is not contradicted: not even a moment before Deadline.
func TestNotValidOnceKeepAliveSaysLost(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), MaxHold: 50 * time.Millisecond})
		for _, wait := range []time.Duration{0, 60 * time.Millisecond} { // before, or when KeepAlive is called
			k, err := l.TryAcquire(bg, "k", minute)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait)
			kept := k.KeepAlive(bg)
			<-kept.Done()
			wants(t, context.Cause(kept), redigolock.ErrLost)
			if k.Valid() {
				t.Error("valid after ErrLost")
			}
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestReleaseWithEndedContextStillReleases(t *testing.T) { // `defer lock.Release(ctx)` of redislock leaves it
	for _, b := range releaseWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.ReleaseWith = b.with
			ctx, cancel := context.WithCancel(bg)
			k := r.Must(r.Locker.TryAcquire(ctx, "key", time.Minute))
			cancel()
			if err := k.Release(ctx); err != nil || r.Get("key") != "" {
				t.Errorf("%s: %v, the key holds %q", b.name, err, r.Get("key"))
			}
		})
	}
}

func TestReleaseIsNotCancelledWhileItWaitsForItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		ctx, cancel := context.WithCancel(bg)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		hold, arrived := make(chan struct{}), make(chan struct{})
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb != "release" {
				return redistest.Pass()
			}
			close(arrived)
			return redistest.Hold(hold)
		})
		released := inBackground(func() error { return k.Release(ctx) })
		receive(t, "the release is sent", arrived)
		cancel()
		close(hold)
		if err := receive(t, "Release returns", released); err != nil {
			t.Error(err)
		}
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent", n)
		}
	})
}

func TestReleaseTriesTwice(t *testing.T) {
	reply := redistest.Reply
	for name, x := range map[string]struct {
		actions []redistest.Action
		want    error // nil: released
		sent    int
	}{
		"reply lost, then not held":      {[]redistest.Action{redistest.Drop()}, nil, 2},
		"reply cut off, then not held":   {[]redistest.Action{redistest.Truncate(1)}, nil, 2},
		"hangs, then not held":           {[]redistest.Action{redistest.Swallow()}, nil, 2},
		"not carried out, then released": {[]redistest.Action{redistest.Cut()}, nil, 2},
		"loading, then released":         {[]redistest.Action{reply("-LOADING wait\r\n")}, nil, 2},
		"both lost":                      {[]redistest.Action{redistest.Drop(), redistest.Drop()}, redigolock.ErrUnknown, 2},
		"both hang":                      {[]redistest.Action{redistest.Swallow(), redistest.Swallow()}, redigolock.ErrUnknown, 2},
		"never carried out":              {[]redistest.Action{redistest.Cut(), redistest.Cut()}, redigolock.ErrUnknown, 2},
		"refused for good":               {[]redistest.Action{reply("-ERR no\r\n")}, redis.Error("ERR no"), 1},
	} {
		for verb, with := range map[string]redigolock.ReleaseFunc{"release": redigolock.Release, "delex": nil} {
			t.Run(name+", "+verb, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSimRig(t)
					r.Locker.OpTimeout, r.Locker.ReleaseWith = shortOp, with
					learns(t, r.Locker)
					before := len(r.Sent(verb))
					k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
					r.Plan(map[string][]redistest.Action{verb: x.actions})
					err := k.Release(bg)
					if !errors.Is(err, x.want) {
						t.Errorf("the error is %v, want %v", err, x.want)
					}
					wantsNot(t, err, context.DeadlineExceeded, context.Canceled) // OpTimeout is no context of the caller's
					sent := r.Sent(verb)[before:]
					most := x.sent
					if x.want == redigolock.ErrUnknown {
						most++ // of the clean-up, which begins at once
					}
					if len(sent) < x.sent || len(sent) > most {
						t.Errorf("%d releases were sent, want %d", len(sent), x.sent)
					}
					if x.sent == 2 && len(sent) >= 2 && sent[0].Conn == sent[1].Conn {
						t.Error("the second try took the same connection")
					}
					if x.want == nil && r.Get("key") != "" {
						t.Error("the key was left")
					}
					r.noCleanUp() // which a Release without an answer owes
					r.Silent("a second Release", func() { wants(t, k.Release(bg), redigolock.ErrNotHeld) })
				})
			})
		}
	}
}

func TestLostReleaseOfAUsersOwnIsUnknownToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.ReleaseWith = plainRelease
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Plan(map[string][]redistest.Action{"eval": {redistest.Cut(), redistest.Cut()}})
		wants(t, k.Release(bg), redigolock.ErrUnknown)

		pool := r.Proxy.Pool()
		pool.MaxActive = 1
		l := &redigolock.Locker{Pool: pool, ReleaseWith: plainRelease}
		k = r.Must(l.TryAcquire(bg, "other", time.Minute))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		r.Plan(map[string][]redistest.Action{"eval": {redistest.Cut()}})
		wants(t, k.Release(bg), redigolock.ErrUnknown) // the first was not sent, the second was lost
		r.OK(l.Close())
	})
}

func TestReleaseThatFoundNothingIsNotHeldUnlessItWasSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		r.Do("DEL", "key")
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		if n := len(r.Sent("release")); n != 1 {
			t.Errorf("%d releases were sent", n)
		}
	})
}

func TestReleaseGoesAroundAnExhaustedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		busy := pool.Get()
		defer busy.Close()
		r.OK(busy.Err())
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("the key was left")
		}
	})
}

func TestReleaseWhoseReplyWasLostAfterDeadlineIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		c := stopClock(r.Locker)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "release" && n == 1 {
				c.Add(time.Minute) // it may have expired, been taken by another, or been deleted by the first try
				return redistest.Drop()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
	})
}

func TestReleaseNeverTouchesAnothersLock(t *testing.T) {
	for _, b := range releaseWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.ReleaseWith = b.with
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			r.Do("SET", "key", k.Token()+"x", "PX", 60000)
			wants(t, k.Release(bg), redigolock.ErrNotHeld)
			if r.Get("key") != k.Token()+"x" {
				t.Errorf("%s touched another's lock", b.name)
			}
		})
	}
}

func TestOnlyOneOfManyReleasesWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		const n = 16
		errs := make(chan error, n)
		start := make(chan struct{})
		for range n {
			go func() {
				<-start
				errs <- k.Release(bg)
			}()
		}
		close(start)
		wins := 0
		for range n {
			err := receive(t, "all return", errs)
			if err == nil {
				wins++
			} else {
				wants(t, err, redigolock.ErrNotHeld)
			}
		}
		if sent := len(r.Sent("release")); wins != 1 || sent != 1 {
			t.Errorf("%d won, %d commands were sent", wins, sent)
		}
	})
}

func TestReleasedHandleIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.OK(k.Release(bg))
		mustNotBeHeld(t, r, k)
		kept := k.KeepAlive(bg)
		if kept.Err() == nil || context.Cause(kept) != context.Canceled {
			t.Errorf("KeepAlive after Release: %v", context.Cause(kept))
		}
	})
}

func TestReleaseOfAHungServerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Server.Pause()
		defer r.Server.Resume()
		start := time.Now()
		err := k.Release(bg)
		wants(t, err, redigolock.ErrUnknown)
		wantsNot(t, err, context.DeadlineExceeded)
		if took := time.Since(start); took != 2*r.Locker.OpTimeout { // two tries
			t.Errorf("Release took %v", took)
		}
	})
}

func TestReleaseDoesNotHangInADialWithoutContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Server.Dial)
		l := &redigolock.Locker{Pool: dialer.pool(), OpTimeout: shortOp}
		defer l.Close()
		k := r.Must(l.TryAcquire(bg, "key", time.Minute))
		dialer.hang()
		if err := receive(t, "Release returns", inBackground(func() error { return k.Release(bg) })); err == nil {
			t.Error("Release without a connection says that it released")
		}
	})
}

func TestReleaseRemovesItsOwnTokenThoughItLostItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Do("PERSIST", "key")
		r.OK(k.Release(bg))
		if r.Get("key") != "" {
			t.Error("a lock without TTL was left for ever")
		}
	})
}

// A lock that was won too late, and could not be undone, is cleaned up: its key may live for long by the server's clock.
func TestLateAcquireThatCannotBeUndoneIsCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		c := stopClock(r.Locker)
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set":
				c.Add(time.Minute)
			case verb == "release" && n <= 3: // the third is of the clean-up, which then waits
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrExpired)
		if r.Get("key") == "" {
			t.Fatal("it was undone: this test proves nothing")
		}
		time.Sleep(10 * shortOp)
		if r.Get("key") != "" {
			t.Error("the key is left")
		}
	})
}

// A number that comes after the Release may be another holder's of the same process.
func TestFenceThatIsAnsweredAfterReleaseIsNotHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		k, err := l.TryAcquire(bg, "key", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		knownScripts(t, s)
		s.Next("fence", sim.Slow(time.Second/2))
		fenced := inBackground(func() error { _, err := k.Fence(bg); return err })
		synctest.Wait()
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		wants(t, receive(t, "Fence returns", fenced), redigolock.ErrNotHeld)
	})
}

// The answers of a Locker's first release, which asks in three ways.
func TestFirstReleaseOfALocker(t *testing.T) {
	unknown := redis.Error("ERR unknown command 'X', with args beginning with: 'k' 'IFEQ' 's3cret' ")
	one, none, noScript := int64(1), int64(0), redis.Error("NOSCRIPT No matching script.")
	errNoPerm := redis.Error("NOPERM this user has no permissions to run the 'evalsha' command")
	errBadType := redis.Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	for name, tc := range map[string]struct {
		replies []any
		want    error // nil: released
	}{
		"Redis 8.4":                      {[]any{one, none, unknown}, nil},
		"Valkey 9":                       {[]any{one, unknown, none}, nil},
		"older":                          {[]any{one, unknown, unknown}, nil},
		"script not known":               {[]any{noScript, one, unknown, none}, nil},
		"script not known, older":        {[]any{noScript, unknown, unknown, one}, nil},
		"script not known, and unheard":  {[]any{noScript, one, unknown, io.EOF}, nil},
		"unheard, script not known":      {[]any{noScript, io.EOF}, redigolock.ErrUnknown},
		"the script alone answers":       {[]any{one, io.EOF}, nil},
		"not held":                       {[]any{none, none, unknown}, redigolock.ErrNotHeld},
		"not held, the rest unheard":     {[]any{none, io.EOF}, redigolock.ErrNotHeld},
		"no lock":                        {[]any{errBadType, errBadType, unknown}, redigolock.ErrConflict},
		"no lock, as DELEX sees it":      {[]any{redis.Error("CONFLICT no TTL"), none, unknown}, redigolock.ErrConflict},
		"refused, the rest unheard":      {[]any{errNoPerm, io.EOF}, redigolock.ErrUnknown},
		"nothing answers":                {[]any{io.EOF}, redigolock.ErrUnknown},
		"inside MULTI":                   {[]any{"QUEUED", "QUEUED", "QUEUED"}, redigolock.ErrUnsupported},
		"a script denied, DELEX carries": {[]any{errNoPerm, one, unknown}, nil},
		"all denied":                     {[]any{errNoPerm, errNoPerm, unknown}, errNoPerm},
	} {
		t.Run(name, func(t *testing.T) {
			err := redigolock.ReleaseKnown(bg, &scriptedConn{Replies: tc.replies}, "k", "s3cret")
			if !errors.Is(err, tc.want) || err != nil && tc.want == nil {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if tc.want != redigolock.ErrUnknown {
				wantsNot(t, err, redigolock.ErrUnknown)
			}
		})
	}
}
