package redigolock_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// windows checks that the times in which holders may act do not overlap.
type windows struct {
	t      *testing.T
	mu     sync.Mutex // protects what follows
	until  time.Time  // the newest holder's Deadline; zero: it has released
	holder *redigolock.Lock
	served int
}

func (w *windows) enter(k *redigolock.Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge("a second holder", k.Deadline())
	w.until, w.holder, w.served = k.Deadline(), k, w.served+1
}

// judge is about somebody who may act until then. The clock is read under the mutex: who comes to it late may act no
// more, and the lock is another's.
func (w *windows) judge(who string, until time.Time) {
	if now := time.Now(); now.Before(w.until) && now.Before(until) {
		w.t.Errorf("%s has the lock, for which a holder may act for another %v", who, w.until.Sub(now))
	}
}

func (w *windows) extended(k *redigolock.Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder == k {
		w.until = k.Deadline()
	}
}

func (w *windows) leave(k *redigolock.Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder == k {
		w.until = time.Time{}
	}
}

const enoughServed = 50

// goesOn reports whether the time is not over, or too few were served yet, on a machine that is busy.
func (w *windows) goesOn(end time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := time.Since(end)
	return late < 0 || w.served < enoughServed && late < 30*time.Second
}

// fairChaos is a proxy's rule that does something to some of the commands, and to the subscription.
func fairChaos(q redistest.Request) redistest.Action {
	switch rand.N(60) {
	case 0:
		return redistest.Cut()
	case 1:
		return redistest.Drop()
	case 2:
		return redistest.Delay(rand.N(100 * time.Millisecond))
	case 3:
		late := make(chan struct{})
		time.AfterFunc(rand.N(300*time.Millisecond), func() { close(late) })
		return redistest.Late(late)
	case 4:
		return redistest.Truncate(rand.N(5))
	case 5:
		return redistest.Reply("-LOADING Redis is loading the dataset in memory\r\n")
	}
	return redistest.Pass()
}

// Whatever happens to commands and messages, with waiters that give up, holders that never release, cohorts, and foreign
// clients that take the lock and drop it: no two may act at a time, somebody always gets the lock, and nothing is left.
func TestFairChaos(t *testing.T) {
	r := newFairRig(t)
	const ttl = 400 * time.Millisecond
	w := &windows{t: t}
	var lockers []*redigolock.Locker
	var proxies []*redistest.Proxy
	for i := range 3 {
		proxy := redistest.NewProxy(t, r.Real().Addr())
		l := r.fair(proxy.Pool())
		l.OpTimeout = 100 * time.Millisecond
		if i == 0 {
			l.Cohort = redigolock.Cohort{Passes: 3, Slice: 50 * time.Millisecond}
		}
		lockers, proxies = append(lockers, l), append(proxies, proxy)
		proxy.Rule(fairChaos)
	}
	end := time.Now().Add(5 * time.Second)
	var wg sync.WaitGroup
	for i := range 12 {
		spawn(&wg, func() {
			for w.goesOn(end) {
				r.chaoticCycle(lockers[i%3], w, ttl)
			}
		})
	}
	spawn(&wg, func() {
		for w.goesOn(end) {
			r.foreignCycle(w, ttl)
		}
	})
	wg.Wait()
	if w.served < enoughServed {
		t.Errorf("only %d were served", w.served)
	}
	for i, l := range lockers {
		proxies[i].Rule(nil)
		r.OK(l.Close())
	}
	r.gone()
}

// chaoticCycle acquires, acts, and releases; or gives up, or forgets the lock.
func (r *fairRig) chaoticCycle(l *redigolock.Locker, w *windows, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond+rand.N(time.Second))
	defer cancel()
	k, err := l.Acquire(ctx, r.key, ttl)
	if err != nil {
		return
	}
	w.enter(k)
	switch rand.N(20) {
	case 0:
		time.Sleep(ttl) // past its Deadline
	case 1:
		return // never released
	case 2:
		_ = k.Extend(bg, ttl)
		w.extended(k)
	default:
		time.Sleep(rand.N(2 * time.Millisecond))
	}
	w.leave(k)
	_ = k.Release(bg)
}

// foreignCycle is a client that knows nothing of queues.
func (r *fairRig) foreignCycle(w *windows, ttl time.Duration) {
	token, asked := redigolock.NewToken(), time.Now()
	reply, err := r.Server.Do("SET", r.key, token, "NX", "PX", ttl.Milliseconds())
	if err == nil && reply == "OK" {
		w.mu.Lock()
		w.judge("a foreign client", asked.Add(validFor(ttl)))
		w.mu.Unlock()
		time.Sleep(rand.N(10 * time.Millisecond))
		if got, err := redis.String(r.Server.Do("GET", r.key)); err == nil && got == token {
			_, _ = r.Server.Do("DEL", r.key)
		}
	}
	time.Sleep(rand.N(20 * time.Millisecond))
}
