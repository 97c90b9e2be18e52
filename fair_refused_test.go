package redigolock_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
)

// limited makes a fair Locker of a user who has all rights but these.
func (r *fairRig) limited(rights ...any) *redigolock.Locker {
	r.T.Helper()
	r.Do("ACL", append([]any{"SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all"}, rights...)...)
	pool, err := redigolock.NewPool(strings.Replace(r.Real().URL(), "redis://", "redis://u:pw@", 1))
	r.OK(err)
	r.T.Cleanup(func() { pool.Close() })
	return r.fair(pool)
}

// A waiter that stands in the queue when its user loses the right to scripts is told so at its next POKE. Who comes then is
// told at once, too; and the entry goes when the right is back.
func TestFairQueuedWaiterThatLosesItsRights(t *testing.T) {
	t.Parallel() // in real time: miniredis knows no rights
	r := newFairRig(t)
	l := r.limited()
	k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
	waiter, behind := waits(bg, l, r.key, time.Minute), waits(bg, l, r.key, time.Minute)
	r.queued(1)
	r.Do("ACL", "SETUSER", "u", "-evalsha", "-eval")
	noRight := func(what string, ch <-chan acquired) {
		if err := receive(t, what, ch).err; err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%s: %v", what, err)
		}
	}
	noRight("the waiter", waiter)
	noRight("the one behind", behind)
	noRight("who comes now", waits(bg, l, r.key, time.Minute))
	r.Do("ACL", "SETUSER", "u", "+evalsha", "+eval")
	r.queued(0)
	r.OK(k.Release(bg))
	r.gone()
}

// Who may not publish hands the lock over all the same, and is told that nobody was. The next holder finds it by its POKE.
func TestFairReleaseThatMayNotPublish(t *testing.T) {
	t.Parallel() // in real time: miniredis knows no rights
	r := newFairRig(t)
	k := r.Must(r.limited("-publish").Acquire(bg, r.key, time.Minute))
	waiter := waits(bg, r.other(), r.key, time.Minute)
	r.queued(1)
	err := k.Release(bg)
	if err == nil || errors.Is(err, redigolock.ErrNotHeld) || errors.Is(err, redigolock.ErrUnknown) {
		t.Errorf("Release returns %v", err)
	}
	r.OK(r.got("the waiter", waiter).Release(bg))
	r.gone()
}

// A grant of a token that the Locker does not know is of one that it has forgotten: it is passed on.
func TestFairMessageOfAForgottenToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("SET", r.key, "forgotten", "PX", 60000)
		waiter := waits(bg, r.Locker, r.key, time.Minute)
		r.queued(1)
		entry := strings.SplitN(r.entries()[0], " ", 4)
		begin := time.Now()
		r.Do("PUBLISH", entry[2], "forgotten")
		k := r.got("the waiter", waiter)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.gone()
	})
}
