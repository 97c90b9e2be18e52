package redigolock_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestDeadlineIsTheTimeBeforeTheSendPlusTTLLessDrift(t *testing.T) {
	for _, a := range acquireWays {
		for _, ttl := range []time.Duration{10 * time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith = a.With
				c := stopClock(r.Locker)
				start := c.Now()
				for try := range 100 { // 10 ms are over before the reply, where the machine is busy
					k, err := r.Locker.TryAcquire(bg, fmt.Sprint("key", try), ttl)
					if err != nil && ttl < time.Second && try < 99 {
						continue
					}
					r.OK(err)
					if got := k.Deadline().Sub(start); got != validFor(ttl) {
						t.Errorf("%s: ttl %v is good for %v, want %v", a.Name, ttl, got, validFor(ttl))
					}
					break
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
			if verb == "set" {
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
