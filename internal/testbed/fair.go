package testbed

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/scripts"
	"github.com/redigolock/redigolock/internal/sim"
)

// A FairRig is a rig whose Locker is fair, with Lockers of other processes, so to speak, that have no proxy before them.
type FairRig struct {
	*Rig
	Key, Queue string
	Cohort     redigolock.Cohort                 // of Contend's Lockers
	Wrap       func(*redis.Pool) redigolock.Pool // makes the other Lockers' pools; nil: they are as they are
}

// FairTTL is a ttl that no test lives to see the end of.
const FairTTL = 10 * time.Second

// FairKey is the key of a FairRig, FairQueue that of its queue.
const (
	FairKey   = "lock"
	FairQueue = "{lock}:redigolock-q2"
)

// fairScripts are the scripts of Locker.Fair.
var fairScripts = []string{"try", "enter", "rel", "poke", "quit", "fairExtend"}

// NewFairRig is one on a real server.
func NewFairRig(t *testing.T, args ...string) *FairRig {
	t.Helper()
	server := redistest.Start(t, args...)
	proxy := redistest.NewProxy(t, server.Addr())
	return newFairRigOn(&Rig{T: t, Server: server, Proxy: proxy})
}

// NewSimFairRig is one in a bubble.
func NewSimFairRig(t *testing.T) *FairRig {
	t.Helper()
	r := NewBareSim(t)
	r.Server.(*SimServer).Delay(fairDelay)
	return newFairRigOn(r)
}

// fairDelay lets the time go on while commands are exchanged, or those that contend for a second would never end.
const fairDelay = 50 * time.Microsecond

func newFairRigOn(bare *Rig) *FairRig {
	bare.T.Helper()
	r := &FairRig{Rig: bare, Key: FairKey, Queue: FairQueue}
	r.Locker = r.Fair(r.Proxy.Pool())
	r.loadScripts()
	return r
}

// loadScripts makes each command one request.
func (r *FairRig) loadScripts() {
	for _, name := range fairScripts {
		r.Do("SCRIPT", "LOAD", scripts.Texts[name])
	}
}

// Fair makes a fair Locker that is closed with the test.
func (r *FairRig) Fair(pool redigolock.Pool) *redigolock.Locker {
	l := &redigolock.Locker{Pool: pool, Fair: true}
	r.T.Cleanup(func() { l.Close() })
	return l
}

// Other makes a fair Locker of another process, so to speak.
func (r *FairRig) Other() *redigolock.Locker {
	if r.Wrap != nil {
		return r.Fair(r.Wrap(r.Server.Pool()))
	}
	return r.Fair(r.Server.Pool())
}

// An Acquired is what an Acquire returned.
type Acquired struct {
	K   *redigolock.Lock
	Err error
}

// Waits has a Locker acquire in the background.
func Waits(ctx context.Context, l *redigolock.Locker, key string, ttl time.Duration) <-chan Acquired {
	return InBackground(func() Acquired {
		k, err := l.Acquire(ctx, key, ttl)
		return Acquired{k, err}
	})
}

// Local queues a waiter of the rig's own Locker, in a bubble.
func (r *FairRig) Local(ttl time.Duration) <-chan Acquired {
	r.T.Helper()
	ch := Waits(bg, r.Locker, r.Key, ttl)
	synctest.Wait() // it waits
	return ch
}

// Queued waits until so many entries stand in the queue.
func (r *FairRig) Queued(n int) {
	r.T.Helper()
	Eventually(r.T, fmt.Sprintf("%d wait in the queue", n), func() bool { return r.Do("LLEN", r.Queue) == int64(n) })
}

// Got waits for an acquire that must succeed, and checks that its Deadline is not later than the server's.
func (r *FairRig) Got(what string, ch <-chan Acquired) *redigolock.Lock {
	r.T.Helper()
	a := Receive(r.T, what, ch)
	r.OK(a.Err)
	r.Valid(a.K)
	return a.K
}

// Valid checks that the server keeps the lock longer than its Deadline.
func (r *FairRig) Valid(k *redigolock.Lock) {
	r.T.Helper()
	token, left := r.Get(k.Key()), r.PTTL(k.Key())
	if now := time.Now(); token != k.Token() {
		r.T.Errorf("the server has token %q, the handle %q", token, k.Token())
	} else if k.Deadline().After(now.Add(left)) {
		r.T.Errorf("Deadline is %v after the server's end", k.Deadline().Sub(now.Add(left)))
	}
}

// Gone checks that nothing is left on the server, but for what those who have waited for long have beaten in, for a minute.
func (r *FairRig) Gone() {
	r.T.Helper()
	Eventually(r.T, "no key is left", func() bool {
		keys, err := redis.Strings(r.Server.Do("KEYS", "*"))
		return err == nil && len(slices.DeleteFunc(keys, IsBeats)) == 0
	})
}

// IsBeats reports whether key is what the waiters of another key beat in.
func IsBeats(key string) bool { return strings.HasSuffix(key, ":redigolock-h2") }

// Contend has waiters take the lock in turn for d, and returns how often. No two of them hold it at a time, and none of them
// starves.
func (r *FairRig) Contend(lockers, waiters int, d time.Duration) int64 {
	r.T.Helper()
	var all []*redigolock.Locker
	for range lockers {
		l := r.Other()
		l.Cohort = r.Cohort
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
				k, err := all[i%lockers].Acquire(bg, r.Key, FairTTL)
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
	if most > 2*least+10+4*int64(r.Cohort.Passes) {
		r.T.Errorf("one waiter had the lock %d times, another %d times", most, least)
	}
	for _, l := range all {
		r.OK(l.Close())
	}
	return cycles.Load()
}

// Once does act with the n-th request of a verb, and lets everything else pass. It returns what is closed when that came.
func (r *FairRig) Once(verb string, n int, act redistest.Action) <-chan struct{} {
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

// Poked has the waiting token POKEd now.
func (r *FairRig) Poked() {
	r.T.Helper()
	n := len(r.Sent("poke"))
	Eventually(r.T, "a POKE", func() bool { return len(r.Sent("poke")) > n })
}

// Entries are the entries of the queue, the first to be served first.
func (r *FairRig) Entries() []string {
	r.T.Helper()
	list, err := redis.Strings(r.Server.Do("LRANGE", r.Queue, 0, -1))
	r.OK(err)
	return list
}

// CapOfPokes is how long a waiting Locker goes without asking.
const CapOfPokes = time.Second

// SimFair is a fair Locker in a bubble.
func SimFair(t *testing.T, s *sim.Server) *redigolock.Locker {
	t.Helper()
	return SimLocker(t, &redigolock.Locker{Pool: SimPool(t, s, "redis"), Fair: true})
}

// MustGet is for the results of an acquire.
func MustGet(t *testing.T) func(*redigolock.Lock, error) *redigolock.Lock {
	return func(k *redigolock.Lock, err error) *redigolock.Lock {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

// InFairBubble is InBubble with a server that knows the scripts, so that each command is one request.
func InFairBubble(t *testing.T, f func(t *testing.T, s *sim.Server)) {
	t.Helper()
	InBubble(t, func(t *testing.T, s *sim.Server) {
		for _, name := range fairScripts {
			if _, err := s.Do("SCRIPT", "LOAD", scripts.Texts[name]); err != nil {
				t.Fatal(err)
			}
		}
		f(t, s)
	})
}

// SentSince counts the commands of a verb that came from then on.
func SentSince(s *sim.Server, verb string, from time.Time) (n int) {
	for _, q := range s.Requests() {
		if q.Verb == verb && !q.At.Before(from) {
			n++
		}
	}
	return n
}

// Refuses answers each command of a verb in this way.
func Refuses(s *sim.Server, verb string, action sim.Action) {
	s.Rule(func(q sim.Request) sim.Action {
		if q.Verb == verb {
			return action
		}
		return sim.Pass()
	})
}

// Evals are the verbs of all scripts that were sent.
func Evals(s *sim.Server) (verbs []string) {
	for _, q := range s.Requests() {
		if q.Name == "EVALSHA" || q.Name == "EVAL" {
			verbs = append(verbs, q.Verb)
		}
	}
	return verbs
}

// ServerFigure is a number of INFO.
func ServerFigure(t *testing.T, server *redistest.Server, section, field string) int64 {
	t.Helper()
	info, err := redis.String(server.Do("INFO", section))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(info, "\r\n"+field+":")
	text, _, _ = strings.Cut(text, "\r\n")
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		t.Fatalf("no %s in INFO %s: %v", field, section, err)
	}
	return n
}
