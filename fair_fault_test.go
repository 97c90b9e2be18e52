package redigolock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// once does act with the n-th request of a verb, and lets everything else pass. It returns what is closed when that came.
func (r *fairRig) once(verb string, n int, act redistest.Action) <-chan struct{} {
	came := make(chan struct{})
	r.Rule(func(v string, seen int) redistest.Action {
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
				synctest.Test(t, func(t *testing.T) {
					r := newSimFairRig(t)
					r.Locker.OpTimeout = shortOp
					act, later := fault()
					came := r.once(verb, 1, act)
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
	other := r.other()
	k := r.Must(other.Acquire(bg, r.key, fairTestTTL))
	ctx, cancel := context.WithCancel(bg)
	givesUp := waits(ctx, r.Locker, r.key, fairTestTTL) // TRY, ENTER; then QUIT
	select {
	case <-came:
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if a := receive(r.T, "the waiter gives up", givesUp); a.err == nil {
		r.T.Error("two hold the lock")
	}
	waiter := waits(bg, r.Locker, r.key, fairTestTTL) // perhaps POKE
	eventually(r.T, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 1 })
	eventually(r.T, "it waits at the server", func() bool {
		for _, e := range r.entries() {
			if redigolock.WaitingEntry(r.Locker, r.key) == e {
				return true
			}
		}
		return false
	})
	behind := waits(bg, r.Locker, r.key, fairTestTTL)
	eventually(r.T, "it waits", func() bool { return redigolock.LocalWaiters(r.Locker, r.key) == 2 })
	if verb := r.verbOnce(came); verb {
		r.poked()
	}
	r.OK(k.Release(bg))
	k = r.got("the waiter", waiter)
	r.OK(k.Release(bg)) // REL with the next
	k = r.got("the one behind it", behind)
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

// poked has the waiting token POKEd now.
func (r *fairRig) poked() {
	r.T.Helper()
	n := len(r.Sent("poke"))
	eventually(r.T, "a POKE", func() bool { return len(r.Sent("poke")) > n })
}

func (r *fairRig) entries() []string {
	r.T.Helper()
	list, err := redis.Strings(r.Server.Do("LRANGE", r.queue, 0, -1))
	r.OK(err)
	return list
}

// afterFault checks that nothing is left behind: after the clean-up a new waiter gets the lock at once or by a REL of what
// came late, and then both keys are gone.
func (r *fairRig) afterFault() {
	r.T.Helper()
	r.Proxy.Rule(nil)
	k := r.got("a new waiter", waits(bg, r.Locker, r.key, fairTestTTL))
	r.OK(k.Release(bg))
	r.OK(r.Locker.Close())
	r.gone()
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
	l := r.fair(pool)
	k := r.Must(r.other().Acquire(bg, r.key, fairTestTTL))
	waiter := waits(bg, l, r.key, fairTestTTL)
	eventually(t, "it has subscribed", func() bool { return redigolock.Subscribed(l) })
	eventually(t, "it has asked again", func() bool {
		calls, err := wrong.Calls()
		return err == nil && calls["subscribe"] >= 2
	})
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries are queued that nobody hears of", n)
	}
	r.OK(k.Release(bg))
	r.OK(r.got("the waiter, by trying", waiter).Release(bg))
	r.gone()
}

// A splitPool dials another server than it lends connections to.
type splitPool struct {
	*redis.Pool
	dial func(...redis.DialOption) (redis.Conn, error)
}

func (p *splitPool) DialContext(context.Context) (redis.Conn, error) { return p.dial() }
