package redigolock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// losses lose the reply of a request: carried out or not, at once or after OpTimeout.
var losses = []struct {
	name   string
	action redistest.Action
}{
	{"drop", redistest.Drop()},
	{"cut", redistest.Cut()},
	{"swallow", redistest.Swallow()},
	{"truncate", redistest.Truncate(1)},
}

// everyLoss runs f for each way to acquire and each way to lose its reply.
func everyLoss(t *testing.T, f func(t *testing.T, r *rig, verb string, loss redistest.Action)) {
	for _, a := range acquireWays {
		for _, x := range losses {
			t.Run(a.Name+"/"+x.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSimRig(t)
					r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, shortOp
					f(t, r, a.Verb, x.action)
				})
			})
		}
	}
}

func TestOneTokenServesAWholeAcquire(t *testing.T) {
	everyLoss(t, func(t *testing.T, r *rig, verb string, loss redistest.Action) {
		r.Plan(map[string][]redistest.Action{verb: {loss, loss, redistest.Reply("-LOADING wait\r\n")}})
		k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
		for _, q := range r.Sent(verb) {
			if token := q.Args[tokenAt(verb)]; token != k.Token() {
				t.Errorf("a try used the token %q, the handle has %q", token, k.Token())
			}
		}
		if n := len(r.Sent(verb)); n < 3 {
			t.Errorf("%d tries, the first two were lost", n)
		}
		if r.Get("key") != k.Token() {
			t.Errorf("the key holds %q", r.Get("key"))
		}
	})
}

// tokenAt is where the token stands in the arguments.
func tokenAt(verb string) int {
	if verb == "set" {
		return 1
	}
	return 3
}

// The clock moves by 10 s whenever a request arrives, so that each send has a time of its own.
func TestAdoptedTokenCountsFromAnExtendNeverFromTheLastTry(t *testing.T) {
	everyLoss(t, func(t *testing.T, r *rig, verb string, loss redistest.Action) {
		c := stopClock(r.Locker)
		first := c.Now()
		var extended time.Time
		r.Rule(func(v string, n int) redistest.Action {
			defer c.Add(10 * time.Second)
			switch {
			case v == verb && n == 1:
				return loss
			case v == "extend":
				extended = c.Now()
			}
			return redistest.Pass()
		})
		k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", 5*time.Minute))
		safe := first
		if !extended.IsZero() {
			safe = extended
		}
		if late := k.Deadline().Sub(safe.Add(validFor(5 * time.Minute))); late > 0 {
			t.Errorf("Deadline is %v later than what is known", late)
		}
		if k.Deadline().Before(first.Add(time.Minute)) {
			t.Error("Deadline is no later than that of the lost try")
		}
	})
}

// The same in real time, judged by what the server has left.
func TestAdoptedTokenIsValidNoLongerThanTheServersTTL(t *testing.T) {
	for _, a := range acquireWays {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith = a.With
				r.Locker.Retry = func(int, time.Duration) time.Duration { return 500 * time.Millisecond }
				r.Plan(map[string][]redistest.Action{a.Verb: {redistest.Drop()}})
				k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", 10*time.Second))
				if over := r.afterTheKeysEnd(k); over > 0 {
					t.Errorf("Deadline is %v after the key's end", over)
				}
			})
		})
	}
}

// afterTheKeysEnd is how much later Deadline is than the server's end of the lock.
func (r *rig) afterTheKeysEnd(k *redigolock.Lock) time.Duration {
	r.T.Helper()
	left := r.PTTL(k.Key()) // first: what passes until the clock is read counts for the server
	return k.Deadline().Sub(time.Now().Add(left))
}

// SET was carried out, and only the GET behind it was refused: whose lock it is cannot be told by the next GET.
func TestTokenThatWasSetButNotReadBackIsAdoptedSafely(t *testing.T) {
	for _, word := range []string{"BUSY", "LOADING", "MASTERDOWN"} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			c := stopClock(r.Locker)
			start := c.Now()
			var extended time.Time
			r.Rule(func(v string, n int) redistest.Action {
				switch {
				case v == "get" && n == 1:
					return redistest.Reply("-" + word + " not now\r\n")
				case v == "set" && n == 2:
					c.Add(20 * time.Second)
				case v == "extend":
					extended = c.Now()
				}
				return redistest.Pass()
			})
			r.Locker.Retry = func(int, time.Duration) time.Duration {
				c.Add(20 * time.Second)
				return 0
			}
			k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
			safe := start
			if !extended.IsZero() {
				safe = extended
			}
			if late := k.Deadline().Sub(safe.Add(validFor(time.Minute))); late > 0 {
				t.Errorf("%s: Deadline is %v later than what is known", word, late)
			}
			r.OK(k.Release(bg))
		})
	}
}

func TestTokenThatWasSetButCannotBeReadBackIsCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Rule(func(v string, n int) redistest.Action {
			if v == "get" {
				return redistest.Reply("-NOPERM no\r\n")
			}
			return redistest.Pass()
		})
		r.Locker.Retry = func(int, time.Duration) time.Duration {
			t.Error("NOPERM was tried again")
			return -1
		}
		k, err := r.Locker.Acquire(bg, "key", time.Minute)
		if k != nil || err == nil {
			t.Errorf("lock %v, error %v", k, err)
		}
		eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
	})
}

func TestTryAcquireAsksOnceMoreOnAnotherConnection(t *testing.T) {
	for _, a := range acquireWays {
		for _, loss := range []redistest.Action{redistest.Drop(), redistest.Truncate(1), redistest.Cut()} {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, time.Second
				r.Plan(map[string][]redistest.Action{a.Verb: {loss}})
				k, err := r.Locker.TryAcquire(bg, "key", time.Minute)
				if err != nil {
					t.Errorf("%s: %v", a.Name, err)
					return
				}
				if tries := r.Sent(a.Verb); len(tries) != 2 || tries[0].Conn == tries[1].Conn {
					t.Errorf("%s: tries %v", a.Name, tries)
				}
				if over := r.afterTheKeysEnd(k); over > 0 {
					t.Errorf("%s: Deadline is %v after the key's end", a.Name, over)
				}
				r.OK(k.Release(bg))
			})
		}
	}
}

func TestTryAcquireThatCannotTellIsErrUnknownNeverSuccess(t *testing.T) {
	everyLoss(t, func(t *testing.T, r *rig, verb string, loss redistest.Action) {
		r.Plan(map[string][]redistest.Action{verb: {loss, loss}, "extend": {loss}})
		k, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		wantsNot(t, err, context.DeadlineExceeded, redigolock.ErrHeld)
		if k != nil {
			t.Error("an ambiguous outcome gave a handle")
		}
		eventually(t, "the key is cleaned up", func() bool { return r.Get("key") == "" })
	})
}

func TestTryAcquireWhoseSetWasNotCarriedOutIsErrUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Plan(map[string][]redistest.Action{"set": {redistest.Cut(), redistest.Cut()}})
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown) // "not there" proves nothing: it may still be on its way
	})
}

func TestContextThatEndsWhileItAsksOnceMoreIsInTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		cause := errors.New("the cause")
		ctx, cancel := context.WithCancelCause(bg)
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set" && n == 1:
				return redistest.Drop()
			case verb == "set":
				cancel(cause)
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown, context.Canceled, cause)
	})
}

func TestContextThatEndsDuringAUsersOwnCommandIsInTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.AcquireWith, r.Locker.OpTimeout = plainSetNX, shortOp
		cause := errors.New("the cause")
		ctx, cancel := context.WithCancelCause(bg)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "set" {
				cancel(cause)
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.TryAcquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown, context.Canceled, cause)
	})
}

func TestDelayedReplyIsASuccess(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Plan(map[string][]redistest.Action{a.Verb: {redistest.Delay(100 * time.Millisecond)}})
			start := time.Now()
			k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
			if n := len(r.Sent(a.Verb)); n != 1 || len(r.Sent("extend")) != 0 {
				t.Errorf("%s: %d tries", a.Name, n)
			}
			if took := time.Since(start); took < 100*time.Millisecond || r.afterTheKeysEnd(k) > 0 {
				t.Errorf("%s: Deadline is after the key's end, or it took only %v", a.Name, took)
			}
		})
	}
}

// node-redlock blocked itself on its own token.
func TestAcquireDoesNotBlockItselfOnItsOwnTokenLikeNodeRedlock(t *testing.T) {
	for _, a := range acquireWays {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.AcquireWith = a.With
			r.Plan(map[string][]redistest.Action{a.Verb: {redistest.Drop()}})
			k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Hour))
			if r.Get("key") != k.Token() || len(r.Sent(a.Verb)) > 3 {
				t.Errorf("%s: %d tries", a.Name, len(r.Sent(a.Verb)))
			}
		})
	}
}

func TestAcquireThatLostAReplyAndThenFoundAnotherHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		r.Rule(func(verb string, n int) redistest.Action {
			if verb != "set" {
				return redistest.Pass()
			}
			switch n {
			case 1:
				r.Do("SET", "key", "another's", "PX", 60000)
				return redistest.Cut()
			case 3:
				cancel()
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		_, err := r.Locker.Acquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld, redigolock.ErrUnknown, context.Canceled)
		if r.Get("key") != "another's" {
			t.Error("another's lock was touched")
		}
	})
}

func TestAdoptedLockThatIsGoneWhenRenewedIsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set" && n == 1:
				return redistest.Drop()
			case verb == "extend":
				r.Do("DEL", "key")
			}
			return redistest.Pass()
		})
		k, err := r.Locker.Acquire(endsIn(t, 5*time.Second), "key", time.Minute)
		if err == nil && r.Get("key") != k.Token() {
			t.Error("a lock that is gone was given")
		}
		if err != nil {
			wants(t, err, redigolock.ErrExpired, redigolock.ErrUnknown)
		}
	})
}
