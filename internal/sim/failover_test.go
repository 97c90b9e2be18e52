package sim_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

var failoverSeeds = flag.Int("failovers", 12, "how many seeds TestFailovers tries, half of them with Fair")

// TestFailovers simulates Lockers whose pools Sentinels lead, by seed, while masters are killed, stopped and replaced, with and without the
// loss of what they wrote last. What must hold:
//   - two are holders at a time only where a failover has lost the token of one of the two;
//   - a holder whose lock another has got meanwhile is told so, ErrLost, and by its Deadline at the latest;
//   - fn under Do never goes on past Deadline without that;
//   - the guarded register loses no update, and fencing numbers rise;
//   - nobody is told that a lock is gone that no failover has lost;
//   - calls return within their bounds, and nothing is left.
func TestFailovers(t *testing.T) {
	var mu sync.Mutex // protects sum
	sum := map[string]int{}
	t.Cleanup(func() { t.Logf("%d seeds: %v", *failoverSeeds, sum) })
	t.Run("seeds", func(t *testing.T) {
		for i := range *failoverSeeds {
			seed := chance(*firstSeed + uint64(i))
			t.Run(fmt.Sprintf("seed=%d/fair=%v", seed, i%2 == 1), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newGroup(t, seed, i%2 == 1)
					w.run()
					mu.Lock()
					defer mu.Unlock()
					for what, n := range w.counts {
						sum[what] += n
					}
				})
			})
		}
	})
}

const (
	groupFor  = 12 * time.Second
	groupOp   = 300 * time.Millisecond
	groupTTL  = 3 * time.Second
	groupKeys = 1
	groupLag  = time.Second // of replication, at most
)

// A group is the servers of which one is the master, those that Sentinels name, and those who lock.
type sentinelGroup struct {
	t        *testing.T
	seed     chance
	fair     bool
	begin    time.Time
	servers  []*sim.Server // in the order of their promotion
	resource *sim.Server

	sentinels redistest.FakeSentinels

	mu      sync.Mutex // protects what follows
	master  int
	demoted []bool
	dead    []bool
	lost    map[string]bool // tokens
	holders map[string][]*groupHolder
	fences  map[string]int64
	writes  map[string]bool
	counts  map[string]int
}

// A groupHolder is one that thinks it has a lock.
type groupHolder struct {
	k         *redigolock.Lock
	over      bool
	overtaken bool // another has the lock
}

func newGroup(t *testing.T, seed chance, fair bool) *sentinelGroup {
	w := &sentinelGroup{t: t, seed: seed, fair: fair, begin: time.Now(), resource: sim.NewServer(t),
		lost: map[string]bool{}, holders: map[string][]*groupHolder{}, fences: map[string]int64{}, writes: map[string]bool{}, counts: map[string]int{}}
	w.sentinels.Name("h0", 0)
	for i := range 4 {
		s := sim.NewServer(t)
		w.servers, w.demoted, w.dead = append(w.servers, s), append(w.demoted, i > 0), append(w.dead, false)
		s.Rule(func(r sim.Request) sim.Action { return w.rule(i, r) })
		s.Around(func(r sim.Request, carry func() string) { w.around(i, r, carry) })
	}
	return w
}

// rule is how a master, and one that was demoted, answers.
func (w *sentinelGroup) rule(i int, r sim.Request) sim.Action {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.dead[i]:
		return sim.Cut()
	case r.Name == "ROLE" && w.demoted[i]:
		return sim.Answer("*1\r\n$5\r\nslave\r\n")
	case r.Name == "ROLE":
		return sim.Answer("*1\r\n$6\r\nmaster\r\n")
	case w.demoted[i] && slices.Contains([]string{"SET", "EVAL", "EVALSHA", "DEL"}, r.Name):
		return sim.Refuse("READONLY You can't write against a read only replica.")
	}
	return sim.Pass()
}

// around notes what a master of before accepts still: it is lost.
func (w *sentinelGroup) around(i int, r sim.Request, carry func() string) {
	w.mu.Lock() // so that no promotion comes in between
	defer w.mu.Unlock()
	if i == w.master {
		carry()
		return
	}
	before := copyOf(w.servers[i])
	carry()
	for key, token := range copyOf(w.servers[i]).values { // that a release has handed it on to
		if before.values[key] != token {
			w.lost[token] = true
		}
	}
	for _, word := range r.Args {
		if token := tokenIn(word); token != "" {
			w.lost[token] = true
		}
	}
}

// A copied is what a server had.
type copied struct {
	at     time.Time
	values map[string]string
	lists  map[string][]string
	ttls   map[string]time.Duration
}

func copyOf(s *sim.Server) *copied {
	c := &copied{time.Now(), map[string]string{}, map[string][]string{}, map[string]time.Duration{}}
	m := s.Miniredis()
	for _, key := range m.Keys() {
		if v, err := m.Get(key); err == nil {
			c.values[key] = v
		} else if l, err := m.List(key); err == nil {
			c.lists[key] = l
		}
		c.ttls[key] = m.TTL(key)
	}
	return c
}

// A loss is how a master is lost.
type loss struct {
	name string
	stop func(w *sentinelGroup, i int) (back func()) // nil: it goes on, until it is told that it is a replica
}

var losses = []loss{
	{"by command", nil},
	{"killed", func(w *sentinelGroup, i int) func() { w.kill(i, true); return func() { w.kill(i, false) } }},
	{"stopped", func(w *sentinelGroup, i int) func() { return w.servers[i].Pause() }},
}

func (w *sentinelGroup) kill(i int, dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[i] = dead
}

// failOver has the next server be the master, with what there was a while before; the old one, if it goes on, takes writes for a while.
func (w *sentinelGroup) failOver(r *rand.Rand) {
	old, how := w.master, losses[r.IntN(len(losses))]
	var has *copied // nil: all is replicated
	if r.IntN(2) == 0 {
		has = copyOf(w.servers[old])
		time.Sleep(between(r, 0, groupLag))
	}
	back := func() {}
	if how.stop != nil {
		back = how.stop(w, old)
		time.Sleep(between(r, 50*time.Millisecond, 600*time.Millisecond))
	}
	w.count("failover "+how.name+map[bool]string{true: ", writes lost", false: ""}[has != nil], 1)
	w.promote(old, has)
	time.Sleep(between(r, 0, 30*time.Millisecond))
	w.tell(r)
	time.Sleep(between(r, 0, 300*time.Millisecond))
	w.mu.Lock()
	w.demoted[old] = true
	w.mu.Unlock()
	back()
}

// promote has the server after the old master have what was copied, and notes what is lost by that.
func (w *sentinelGroup) promote(old int, has *copied) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, next := copyOf(w.servers[old]), w.servers[old+1].Miniredis()
	if has == nil {
		has = now
	}
	age := time.Since(has.at)
	for key, ttl := range has.ttls {
		left := ttl - age
		if left <= 0 {
			continue
		}
		if v, ok := has.values[key]; ok {
			_ = next.Set(key, v)
		} else if list := has.lists[key]; len(list) > 0 {
			_, _ = next.Push(key, list...)
		}
		next.SetTTL(key, left.Truncate(time.Millisecond))
	}
	for key, v := range now.values {
		if tokenIn(v) != "" && (has.values[key] != v || has.ttls[key]-age < now.ttls[key]-time.Millisecond) {
			w.lost[v] = true
		}
	}
	w.master = old + 1
	w.demoted[w.master] = false
}

// tell has the Sentinels name the new master, and most of those that listen hear of it.
func (w *sentinelGroup) tell(r *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sentinels.Name("h"+strconv.Itoa(w.master), w.master)
	w.sentinels.Tell(func() bool { return r.IntN(8) > 0 })
}

func (w *sentinelGroup) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what] += n
}

// locker is another process, with a pool of its own.
func (w *sentinelGroup) locker(i int) *redigolock.Locker {
	s := &redigolock.Sentinel{Addrs: []string{"s1", "s2", "s3"}, Master: "m",
		Dial: func(ctx context.Context, addr string) (redis.Conn, error) {
			at, _ := strconv.Atoi(addr[1:strings.Index(addr, ":")])
			return w.servers[at].DialRedis(ctx, redis.DialReadTimeout(time.Second))
		},
		DialSentinel: func(context.Context, string) (redis.Conn, error) {
			return w.sentinels.Dial(), nil
		}}
	p := &redis.Pool{DialContext: s.DialContext, TestOnBorrow: s.TestOnBorrow, MaxIdle: 8}
	l := &redigolock.Locker{Pool: p, Fair: w.fair, OpTimeout: groupOp, Owner: fmt.Sprintf("p%d", i)}
	w.t.Cleanup(func() {
		l.Close()
		p.Close()
		s.Close()
	})
	return l
}

func (w *sentinelGroup) run() {
	for i, s := range append(slices.Clone(w.servers), w.resource) {
		s.DelayBy(func(d sim.Direction, b []byte) time.Duration {
			return between(w.seed.of("delay", i, time.Since(w.begin), int(d), b), 20*time.Microsecond, 2*time.Millisecond)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupFor)
	defer cancel()
	var workers sync.WaitGroup
	var lockers []*redigolock.Locker
	for i := range 3 {
		l := w.locker(i)
		lockers = append(lockers, l)
		for n := range 2 {
			workers.Go(func() { w.work(ctx, l, w.seed.of("worker", i, n)) })
		}
	}
	r := w.seed.of("failovers")
	for range len(w.servers) - 1 {
		time.Sleep(between(r, 300*time.Millisecond, groupFor/time.Duration(len(w.servers))-2*groupLag))
		w.failOver(r)
	}
	workers.Wait()
	w.calm(lockers)
}

// calm waits until nothing is left to be done, acquires each key once more, and looks for what is left.
func (w *sentinelGroup) calm(lockers []*redigolock.Locker) {
	for key := range groupKeys {
		err := lockers[0].Do(testContext(w.t, groupTTL+5*time.Second), fmt.Sprint("k", key), groupTTL, func(context.Context, *redigolock.Lock) error { return nil })
		if err != nil {
			w.t.Errorf("k%d is not free: %v", key, err)
		}
	}
	time.Sleep(time.Minute)
	for _, l := range lockers {
		if s := l.Stats(); s != (redigolock.Stats{}) {
			w.t.Errorf("%s: %+v", l.Owner, s)
		}
	}
}

func testContext(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// work locks in all ways until ctx ends.
func (w *sentinelGroup) work(ctx context.Context, l *redigolock.Locker, r *rand.Rand) {
	for ctx.Err() == nil {
		time.Sleep(between(r, 0, 100*time.Millisecond))
		key, most := fmt.Sprint("k", r.IntN(groupKeys)), between(r, 100*time.Millisecond, 4*time.Second)
		try, stop := context.WithTimeout(context.Background(), most)
		begin := time.Now()
		switch r.IntN(3) {
		case 0:
			k, err := l.TryAcquire(try, key, groupTTL)
			w.returned("TryAcquire", begin, min(most, 2*groupOp), err)
			if err == nil {
				w.keep(k, r)
			}
		case 1:
			k, err := l.Acquire(try, key, groupTTL)
			w.returned("Acquire", begin, most, err)
			if err == nil {
				w.keep(k, r)
			} else if try.Err() == nil && !errors.Is(err, redigolock.ErrExpired) {
				w.t.Errorf("Acquire gave up %v before its context ended: %v", most-time.Since(begin), err)
			}
		default:
			w.do(try, l, key, r)
		}
		stop()
	}
}

// returned checks the bound of a call.
func (w *sentinelGroup) returned(call string, begin time.Time, most time.Duration, err error) {
	if errors.Is(err, redigolock.ErrExpired) {
		most += 2 * groupOp // it is undone
	}
	if took := time.Since(begin); took > most+time.Millisecond {
		w.t.Errorf("%s took %v, its bound is %v: %v", call, took, most, err)
	}
	w.count(call, 1)
}

func (w *sentinelGroup) do(ctx context.Context, l *redigolock.Locker, key string, r *rand.Rand) {
	begin, ran := time.Now(), false
	var over time.Time
	err := l.Do(ctx, key, groupTTL, func(kept context.Context, k *redigolock.Lock) error {
		ran = true
		w.inside(kept, k, r)
		over = time.Now()
		return nil
	})
	if !ran {
		w.returned("Do", begin, deadlineOf(ctx).Sub(begin), err)
	} else {
		w.returned("Release", over, 3*groupOp, err)
	}
}

func deadlineOf(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}

// keep is what Do does, by hand.
func (w *sentinelGroup) keep(k *redigolock.Lock, r *rand.Rand) {
	w.inside(k.KeepAlive(context.Background()), k, r)
	begin := time.Now()
	w.returned("Release", begin, 3*groupOp, k.Release(context.Background()))
}

// inside is the critical section. kept is the context that keeps the lock alive.
func (w *sentinelGroup) inside(kept context.Context, k *redigolock.Lock, r *rand.Rand) {
	h := w.enter(k)
	defer w.leave(h)
	for range 1 + r.IntN(4) {
		if r.IntN(2) == 0 {
			w.write(kept, k, r)
		}
		timer := time.NewTimer(between(r, 0, groupTTL/6))
		select {
		case <-timer.C:
		case <-kept.Done():
			timer.Stop()
			w.told(h, context.Cause(kept))
			return
		}
		if now := time.Now(); !now.Before(k.Deadline()) {
			w.t.Errorf("%v: fn goes on %v after Deadline", now.Sub(w.begin), now.Sub(k.Deadline()))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.overtaken && kept.Err() == nil { // it will be told by its Deadline; it just comes first
		w.counts["overtaken, and over before it was told"]++
	}
}

// told checks what a holder learns whose context has ended.
func (w *sentinelGroup) told(h *groupHolder, cause error) {
	if late := time.Since(h.k.Deadline()); late > 0 {
		w.t.Errorf("%v: told %v after Deadline", time.Since(w.begin), late)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(cause, context.DeadlineExceeded) && !errors.Is(cause, redigolock.ErrLost): // the end of the caller's own
		return
	case !errors.Is(cause, redigolock.ErrLost):
		w.t.Errorf("%v: the context ended with %v", time.Since(w.begin), cause)
	case errors.Is(cause, redigolock.ErrNotHeld) && !w.lost[h.k.Token()]:
		w.t.Errorf("%v: a lock that no failover has lost: %v", time.Since(w.begin), cause)
	}
	w.counts["ErrLost"]++
	if h.overtaken {
		w.counts["overtaken, and told"]++
	}
}

// enter checks that there is no other holder, unless a failover has lost the token of one of the two.
func (w *sentinelGroup) enter(k *redigolock.Lock) *groupHolder {
	w.mu.Lock()
	defer w.mu.Unlock()
	h, now := &groupHolder{k: k}, time.Now()
	w.counts["holds"]++
	for _, o := range w.holders[k.Key()] {
		if o.over || !now.Before(o.k.Deadline()) {
			continue
		}
		if w.counts["overlaps"]++; !w.lost[o.k.Token()] && !w.lost[k.Token()] {
			w.t.Errorf("%v: %s has two holders, and no failover has lost either: %s and %s", now.Sub(w.begin), k.Key(), short(o.k.Token()), short(k.Token()))
		}
		o.overtaken = true
	}
	w.holders[k.Key()] = append(w.holders[k.Key()], h)
	return h
}

func (w *sentinelGroup) leave(h *groupHolder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.over = true
}

// write adds one to what the lock protects, under the guard of a fence.
func (w *sentinelGroup) write(ctx context.Context, k *redigolock.Lock, r *rand.Rand) {
	begin := time.Now()
	fence, err := k.Fence(ctx)
	w.returned("Fence", begin, groupOp, err)
	if err != nil {
		return
	}
	key := k.Key()
	w.mu.Lock()
	if fence <= w.fences[key] && !w.lost[k.Token()] { // a master of before gives numbers, too; the guard refuses the lower ones
		w.t.Errorf("%v: the number %d, and %d was given before", time.Since(w.begin), fence, w.fences[key])
	}
	w.fences[key] = max(w.fences[key], fence)
	w.mu.Unlock()
	c, err := w.resource.DialRedis(context.Background())
	if err != nil {
		w.t.Error(err)
		return
	}
	defer c.Close()
	guard, register := "{"+key+"}:guard", "{"+key+"}:register"
	value, err := redis.Int64(redigolock.GuardDo(context.Background(), c, guard, fence, "GET", register))
	if err == nil || errors.Is(err, redis.ErrNil) {
		time.Sleep(between(r, 0, groupTTL/10)) // others may write meanwhile, if the lock is lost; the guard must see to it
		_, err = redigolock.GuardDo(context.Background(), c, guard, fence, "SET", register, value+1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch id := fmt.Sprint(key, value+1); {
	case errors.Is(err, redigolock.ErrFenced):
		w.counts["refused by the guard"]++
	case err != nil:
		w.t.Errorf("%v: %v", time.Since(w.begin), err)
	case w.writes[id]:
		w.t.Errorf("%v: an update is lost: %s", time.Since(w.begin), id)
	default:
		w.writes[id] = true
		w.counts["updates"]++
	}
}
