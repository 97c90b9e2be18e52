package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A worker is a goroutine of the user's code: it acquires locks in one of the ways that there are, does something with them,
// and gives them back.
type worker struct {
	p    *process
	name string // within its process
	r    *rand.Rand

	i   *incarnation // whose Locker is used
	who string
	ctx context.Context // ends with the work, at a moment of its own

	secrets int // it has drawn; used by its goroutine only

	back  time.Time     // when its newest call returned, or called fn
	heard time.Duration // how long its Observer took when it was told that the newest lock was acquired
}

func newWorker(p *process, n int) *worker {
	return &worker{p: p, name: fmt.Sprintf(".%d", n), r: p.w.plan.seed.of("worker", p.index, n)}
}

func (u *worker) world() *world { return u.p.w }

// sleep lets time pass, until the work is over at most. It reports whether there is more to do.
func (u *worker) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-u.ctx.Done():
	}
	u.p.stand()
	return u.ctx.Err() == nil
}

// while is a duration in proportion to the ttls.
func (u *worker) while(share float64) time.Duration {
	return between(u.r, 0, time.Duration(float64(u.world().plan.pace)*share)+time.Microsecond)
}

func (u *worker) ttl() time.Duration {
	p := u.world().plan
	ttl := p.minTTL + time.Duration(u.r.Float64()*u.r.Float64()*float64(p.maxTTL-p.minTTL))
	return ttl.Truncate(time.Millisecond)
}

func (u *worker) run() {
	workersBy.Store(goroutine(), u)
	defer workersBy.Delete(goroutine())
	var cancel context.CancelFunc
	u.ctx, cancel = context.WithTimeout(context.Background(), u.world().plan.sim+between(u.r, 0, time.Millisecond))
	defer cancel()
	for u.sleep(u.while(0.1)) {
		u.i = u.p.now()
		if u.i.dead.Load() {
			continue
		}
		u.who = u.i.name + u.name
		u.turn()
	}
}

func (u *worker) note(format string, args ...any) { u.world().trace.add(u.who, format, args...) }

// locker is the one for a key.
func (u *worker) locker(key string) *locker { return u.i.locker(u.p.ward(key)) }

// patience is a context that ends at random, and its bound.
func (u *worker) patience() (context.Context, context.CancelFunc, time.Duration) {
	d := u.while(2) + time.Millisecond
	if u.leaves() {
		d = between(u.r, 50*time.Microsecond, 2*time.Millisecond)
	}
	ctx := context.WithValue(u.ctx, whoKey{}, u.who)
	if u.r.IntN(3) == 0 { // it is cancelled, and has no deadline
		ctx, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(d, func() { cancel(errTired) })
		return ctx, func() { timer.Stop(); cancel(nil) }, d
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, d
}

// leaves reports whether the call's context ends while its reply is awaited, about: others of a Mux's batch go on without it.
func (u *worker) leaves() bool {
	p := u.world().plan
	return p.isMux(p.mode) && u.r.IntN(6) == 0
}

// turn acquires, works, and releases.
func (u *worker) turn() {
	key := pick(u.r, u.world().names...)
	ttl := u.ttl()
	n := u.r.IntN(11)
	if u.world().plan.mode == "renew" && u.r.IntN(3) > 0 {
		n = 10
	}
	switch n {
	case 10:
		u.many(ttl)
	case 0:
		u.do(key, ttl, true)
	case 1, 2:
		u.do(key, ttl, false)
	case 3, 4:
		u.hold(u.try(key, ttl))
	default:
		u.hold(u.acquire(key, ttl))
	}
}

// call runs f, which has to return within most.
func (u *worker) call(name string, most time.Duration, f func() error) error {
	u.note("%s …", name)
	start := time.Now()
	err := f()
	u.back = time.Now()
	u.world().check.returned(u.p, u.who, name, start, most+u.undoing(err))
	u.followed(name, err)
	u.world().part(u.who)
	if err != nil {
		u.note("%s: %v", name, err)
	} else {
		u.note("%s: done", name)
	}
	return err
}

// undoing is how much longer an acquire may take that was won too late: it is undone, whatever its context, as by a Release; one
// that a Quorum has not won always is.
func (u *worker) undoing(err error) time.Duration {
	if errors.Is(err, redigolock.ErrExpired) || err != nil && u.world().plan.mode == "quorum" {
		return 2 * u.world().plan.op
	}
	return 0
}

func (u *worker) acquire(key string, ttl time.Duration) *held {
	ctx, cancel, most := u.patience()
	defer cancel()
	l := u.locker(key)
	var k *redigolock.Lock
	x := u.world().check.waits(ctx, l, key, u.who)
	err := u.call(fmt.Sprintf("Acquire(%s, %v) for %v", key, ttl, most), most, func() (err error) {
		k, err = l.Acquire(ctx, key, ttl)
		return err
	})
	u.world().check.served(x, err == nil)
	return u.got(k, ttl, err)
}

func (u *worker) try(key string, ttl time.Duration) *held {
	ctx, cancel, most := u.patience()
	defer cancel()
	l := u.locker(key)
	var k *redigolock.Lock
	err := u.call(fmt.Sprintf("TryAcquire(%s, %v) for %v", key, ttl, most), min(most, u.tries()), func() (err error) {
		k, err = l.TryAcquire(ctx, key, ttl)
		return err
	})
	return u.got(k, ttl, err)
}

// tries is the bound of a TryAcquire.
func (u *worker) tries() time.Duration { return 2 * u.world().plan.op }

// A held is a lock that a worker has.
type held struct {
	*holder
	k   *redigolock.Lock
	ttl time.Duration // of the acquire
}

func (u *worker) got(k *redigolock.Lock, ttl time.Duration, err error) *held {
	if err != nil {
		return nil
	}
	u.note("has %s, %s, until %v", k.Key(), short(k.Token()), k.Deadline().Sub(u.world().trace.begin))
	return &held{u.world().check.acquired(u.who, u.p.ward(k.Key()), k.Token(), k.Deadline, u.given()), k, ttl}
}

// given is when the newest call returned its lock, but for the time that the user's own code took: the Observer, before it returned, and
// the worker, after it (see world.part). The library has looked at the clock before both, and answers for neither.
func (u *worker) given() time.Time { return u.back.Add(-u.heard) }

// hold does something with a lock, and releases it, or not.
func (u *worker) hold(h *held) {
	if h == nil {
		return
	}
	var kept context.Context
	steps := u.r.IntN(5)
	if u.world().plan.mode == "cohort" && u.r.IntN(2) == 0 {
		steps = 0 // or most ttls would be over
	}
	for range steps {
		if u.i.dead.Load() {
			return // it crashed, and never comes back
		}
		u.p.stand()
		u.world().check.valid(h)
		switch u.r.IntN(7) {
		case 0:
			u.verify(h)
		case 1:
			if err := u.extend(h.k); !u.told(h, err) {
				u.world().check.extended(h.holder)
			}
		case 2, 3:
			u.write(h)
		case 4:
			if kept == nil {
				kept = u.keep(h)
				defer func() { <-kept.Done() }()
			}
			u.sleep(u.while(1.5))
		case 5:
			u.attach(h)
		default:
			u.sleep(u.while(0.3))
		}
	}
	if u.i.dead.Load() {
		return
	}
	u.p.stand()
	if kept == nil && u.r.IntN(8) == 0 || u.world().plan.mode == "cohort" && u.r.IntN(4) > 0 {
		u.linger(h)
	}
	if kept == nil && u.r.IntN(20) == 0 {
		u.note("forgets %s", h.key)
		u.world().check.abandon(h.holder)
		return
	}
	u.release(h)
}

func (u *worker) extend(k *redigolock.Lock) error {
	err := u.call("Extend", u.world().plan.op, func() error { return k.Extend(u.during(), u.ttl()) })
	u.world().check.mayExtend(k.Token(), err)
	return err
}

// linger waits until about the Deadline, mostly a little less: a cohort has to extend the lock for the next, or may not pass it on.
func (u *worker) linger(h *held) {
	d := time.Until(h.k.Deadline()) + between(u.r, -h.ttl/3, h.ttl/50)
	if d > 0 && d < 2*u.world().plan.pace {
		u.sleep(d)
	}
}

// many takes several locks at once, and keeps them alive: they are renewed together.
func (u *worker) many(ttl time.Duration) {
	var all []*held
	for _, i := range u.r.Perm(len(u.world().names))[:min(len(u.world().names), 6)] {
		if h := u.try(u.world().names[i], ttl); h != nil {
			all = append(all, h)
		}
	}
	for _, h := range all {
		kept := u.keep(h)
		defer func() { <-kept.Done() }()
	}
	u.sleep(u.while(3))
	for _, h := range all {
		if !u.i.dead.Load() {
			u.release(h)
		}
	}
}

func (u *worker) verify(h *held) {
	start := time.Now()
	err := u.call("Verify", u.world().plan.op, func() error { return h.k.Verify(u.during()) })
	if !u.told(h, err) {
		u.world().check.verified(h, start)
	}
}

// during is the context of a call in the middle: one without end, or one that has ended, or will soon.
func (u *worker) during() context.Context {
	ctx := context.WithValue(context.Background(), whoKey{}, u.who)
	d, ends := u.while(0.2), u.r.IntN(10) == 0
	if u.leaves() {
		d, ends = between(u.r, 50*time.Microsecond, 2*time.Millisecond), true
	}
	if ends {
		ctx, cancel := context.WithTimeout(ctx, d)
		context.AfterFunc(ctx, cancel)
		return ctx
	}
	return ctx
}

// told reports whether a call said that the lock is gone; then the worker stops acting on it.
func (u *worker) told(h *held, err error) bool {
	if errors.Is(err, redigolock.ErrNotHeld) {
		u.world().check.over(h.holder)
		return true
	}
	return err != nil
}

func (u *worker) release(h *held) {
	u.world().check.over(h.holder)
	ctx := u.during()
	if u.r.IntN(4) == 0 {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	}
	start := time.Now()
	err := u.call("Release "+h.key, 3*u.world().plan.op, func() error { return h.k.Release(ctx) })
	if errors.Is(err, redigolock.ErrNotHeld) && u.back.Before(h.k.Deadline()) {
		u.world().check.wasHeld(h, start)
	}
	if err == nil {
		u.world().check.released(h.holder)
	} else {
		u.world().check.abandon(h.holder)
	}
}

// keep keeps the lock alive, and watches what the context says.
func (u *worker) keep(h *held) context.Context {
	u.note("KeepAlive %s", h.key)
	kept := h.k.KeepAlive(context.WithValue(context.Background(), whoKey{}, u.who))
	u.watch(h, kept)
	return kept
}

// watch checks that the context of KeepAlive ends no later than Deadline, and that Deadline is only moved while nobody else is
// valid.
func (u *worker) watch(h *held, kept context.Context) {
	w, who, p, i, ttl, begin := u.world(), u.who, u.p, u.i, h.ttl+2*u.world().plan.op, time.Now()
	left := time.Until(h.k.Deadline())
	easy := h.ttl >= 100*time.Millisecond && left > h.ttl/3 // to renew it takes some messages, and a dial
	if !time.Now().Before(h.k.Deadline()) {
		return // it was over before it began
	}
	context.AfterFunc(kept, func() {
		cause := context.Cause(kept)
		w.trace.add(who, "KeepAlive %s ends: %v", h.key, cause)
		late := time.Since(h.k.Deadline())
		if errors.Is(cause, redigolock.ErrLost) {
			unsafe := w.check.mayHaveLost(h.ward, h.token) > 0
			if calm := p.calmFor(); easy && calm > ttl && !unsafe && !i.dead.Load() && !errors.Is(cause, redigolock.ErrNotHeld) {
				w.check.fail("lost without need", "%s at %s, although all was well for %v: %v", h.key, who, calm, cause)
			}
			w.check.wasRenewed(p, i, h, begin, cause)
			w.check.isGone(h, begin, cause)
			w.check.over(h.holder)
			w.check.mu.Lock()
			w.check.lost++
			w.check.mu.Unlock()
		}
		if late > p.awakeLate() {
			w.check.fail("late signal", "KeepAlive of %s at %s ended %v after Deadline: %v", h.key, who, late, cause)
		}
	})
}

// attach makes a second handle of the lock, as another part of the program would that was told the token.
func (u *worker) attach(h *held) {
	l, ok := u.locker(h.key).locking.(*redigolock.Locker)
	if !ok || u.world().plan.mode == "cohort" {
		return
	}
	var k *redigolock.Lock
	err := u.call("Attach "+h.key, u.world().plan.op, func() (err error) {
		k, err = l.Attach(u.during(), h.key, h.token, u.ttl())
		return err
	})
	u.world().check.mayExtend(h.token, err)
	if err != nil {
		return
	}
	second := &held{u.world().check.acquired(u.who, h.ward, h.token, k.Deadline, u.given()), k, h.ttl}
	if err := u.extend(k); err == nil {
		u.world().check.extended(second.holder)
	}
	u.world().check.over(second.holder)
}

// write adds one to what the lock protects, under the guard of a fence.
func (u *worker) write(h *held) {
	w := u.world()
	if w.plan.mode == "quorum" { // it has no fence
		u.verify(h)
		return
	}
	var fence int64
	err := u.call("Fence "+h.key, w.plan.op, func() (err error) {
		fence, err = h.k.Fence(u.during())
		return err
	})
	if u.told(h, err) {
		return
	}
	w.check.fenced(h.holder, fence)
	u.p.stand()
	c := u.i.resource.Get()
	defer c.Close()
	ctx := context.WithValue(context.Background(), whoKey{}, u.who)
	guard, register := "{"+h.key+"}:guard", "{"+h.key+"}:register"
	value, err := redis.Int64(redigolock.GuardDo(ctx, c, guard, fence, "GET", register))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		u.note("reads the register of %s with %d: %v", h.key, fence, err)
		return
	}
	if u.r.IntN(3) == 0 {
		u.sleep(u.while(0.5)) // others may write meanwhile, if the lock is lost; the guard must see to it
	}
	_, err = redigolock.GuardDo(ctx, c, guard, fence, "SET", register, value+1)
	u.note("writes %d to the register of %s with %d: %v", value+1, h.key, fence, err)
	if err == nil {
		w.check.wrote(u.who, h.key, value+1)
	}
}

// do locks with Do or TryDo.
func (u *worker) do(key string, ttl time.Duration, try bool) {
	ctx, cancel, most := u.patience()
	defer cancel()
	l := u.locker(key)
	name, do, most := "Do", l.Do, most
	if try {
		name, do, most = "TryDo", l.TryDo, min(most, u.tries())
	}
	var h *held
	x := &ticket{}
	if !try {
		x = u.world().check.waits(ctx, l, key, u.who)
	}
	start := time.Now()
	fn := func(kept context.Context, k *redigolock.Lock) error {
		u.back = time.Now()
		u.world().check.returned(u.p, u.who, name+" until fn", start, most)
		u.world().check.served(x, true)
		if h = u.got(k, ttl, nil); h == nil {
			return nil
		}
		u.watch(h, kept)
		if u.r.IntN(2) == 0 {
			u.write(h)
		}
		timer := time.NewTimer(u.while(2))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-kept.Done():
		}
		start = time.Now()
		u.world().check.over(h.holder)
		return nil
	}
	u.note("%s(%s, %v) for %v …", name, key, ttl, most)
	err := do(ctx, key, ttl, fn)
	u.world().check.served(x, false)
	if err != nil && h != nil {
		u.world().check.abandon(h.holder)
	}
	most += u.undoing(err)
	if h != nil {
		most = 3 * u.world().plan.op
	}
	u.world().check.returned(u.p, u.who, name, start, most)
	if err == nil && h != nil {
		u.world().check.released(h.holder)
	}
	u.followed(name, err)
	u.world().part(u.who)
	u.note("%s %s: %v", name, key, err)
}

var redirect = regexp.MustCompile(`\b(MOVED|ASK) \d+ \S+`)

// followed checks that no call ends with where to go instead, unless its lock, or its time, is over all the same. Of a Release the second
// try counts: the first may have found nobody there. A transaction is not led to a node that imports its slot.
func (u *worker) followed(call string, err error) {
	if u.world().shards == nil || err == nil {
		return
	}
	last := err.Error()
	if first, again, ok := strings.Cut(last, "on a new connection: "); ok {
		was, is := redirect.FindString(first), redirect.FindString(again)
		if u.world().isFair() || was == "" || strings.Contains(first, "release tx") && was != is {
			return // the try that would have followed, once more, is made in the background
		}
		last = again
	}
	if to := redirect.FindString(last); to == "" || strings.HasPrefix(to, "ASK") && strings.Contains(last, "release tx") {
		return
	}
	for _, end := range []error{redigolock.ErrNotHeld, redigolock.ErrLost, redigolock.ErrUnknown, redigolock.ErrExpired, context.DeadlineExceeded, context.Canceled, errTired} {
		if errors.Is(err, end) {
			return
		}
	}
	u.world().check.fail("not followed", "%s of %s ended with %v", call, u.who, err)
}

// A foreigner locks in the way that is in every handbook, with no code of this library.
type foreigner struct {
	w *world
	r *rand.Rand
}

func newForeigner(w *world) *foreigner { return &foreigner{w, w.plan.seed.of("foreigner")} }

var compareAndDelete = redis.NewScript(1, "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")

func (f *foreigner) run() {
	l := f.w.nodes[0].s.NewLink("foreign")
	l.DelayBy(func(_ sim.Direction, b []byte) time.Duration {
		return between(f.w.plan.seed.of("foreign", time.Since(f.w.trace.begin), b), 50*time.Microsecond, 2*time.Millisecond)
	})
	for n := 0; time.Since(f.w.trace.begin) < f.w.plan.sim; n++ {
		f.turn(l, n)
		time.Sleep(between(f.r, 0, f.w.plan.pace/10))
	}
}

func (f *foreigner) turn(l *sim.Link, n int) {
	c, err := l.DialRedis(context.Background())
	if err != nil {
		return
	}
	defer c.Close()
	key, token := pick(f.r, f.w.names...), fmt.Sprintf("foreign|%d", n)
	ttl := between(f.r, 10*time.Millisecond, f.w.plan.maxTTL).Truncate(time.Millisecond)
	until := time.Now().Add(ttl - ttl/100) // for the server's clock may run faster
	if _, err := redis.String(c.Do("SET", key, token, "NX", "PX", ttl.Milliseconds())); err != nil || !time.Now().Before(until) {
		return
	}
	h := f.w.check.acquired("foreign", f.w.wards[key], token, func() time.Time { return until }, time.Now())
	time.Sleep(between(f.r, 0, f.w.plan.pace/4))
	f.w.check.over(h)
	compareAndDelete.Do(c, key, token)
}
