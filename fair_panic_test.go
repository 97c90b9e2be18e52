package redigolock_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

// A trap ends the goroutine that steps into it, once it is set.
type trap struct {
	exit bool         // by runtime.Goexit, else by a panic
	left atomic.Int32 // how many goroutines pass before it shuts; negative: it is not set
}

func newTrap(exit bool) *trap {
	t := &trap{exit: exit}
	t.left.Store(-1)
	return t
}

// set has the trap shut for the goroutine that comes after n others.
func (t *trap) set(n int32) { t.left.Store(n) }

func (t *trap) step() {
	if t.left.Load() < 0 || t.left.Add(-1) >= 0 {
		return
	}
	if t.exit {
		runtime.Goexit()
	}
	panic("of the user's code")
}

// trapped is a pool of the user's with traps in it.
type trapped struct {
	*redis.Pool
	get, send, reply, dial *trap
}

func (p *trapped) Get() redis.Conn { panic("GetContext is there") }

func (p *trapped) GetContext(ctx context.Context) (redis.Conn, error) {
	p.get.step()
	c, err := p.Pool.GetContext(ctx)
	return &trappedConn{c, p}, err
}

func (p *trapped) DialContext(context.Context) (redis.Conn, error) {
	p.dial.step()
	return p.Pool.Dial()
}

type trappedConn struct {
	redis.Conn
	p *trapped
}

func (c *trappedConn) Do(cmd string, args ...any) (any, error) {
	return c.DoWithTimeout(0, cmd, args...)
}

func (c *trappedConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	c.p.send.step()
	reply, err := redis.DoWithTimeout(c.Conn, d, cmd, args...)
	c.p.reply.step()
	return reply, err
}

func (c *trappedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *trappedConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

func (c *trappedConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, cmd, args...)
}

// falls runs f, which a trap must end unless f may return, as net/http runs a handler.
func falls(t *testing.T, mayReturn bool, f func()) {
	t.Helper()
	end := make(chan bool, 1)
	go func() {
		returned := false
		defer func() {
			recover()
			end <- returned
		}()
		f()
		returned = true
	}()
	if receive(t, "the goroutine ends", end) && !mayReturn {
		t.Fatal("the trap was not stepped into")
	}
}

// A panic of the user's code, or runtime.Goexit, that somebody recovers wedges no key: the next acquire of the Locker gets
// the lock, and so do others after its release.
func TestFairPanicsThatAreRecovered(t *testing.T) {
	type world struct {
		*fairRig
		l *redigolock.Locker
		p *trapped
		o *trap // in the Observer
	}
	release := func(k *redigolock.Lock, err error) {
		if err == nil {
			_ = k.Release(bg)
		}
	}
	acquire := func(w *world) { release(w.l.Acquire(bg, w.key, time.Hour)) }
	tryAcquire := func(w *world) { release(w.l.TryAcquire(bg, w.key, time.Hour)) }
	held := func(w *world) func(*world) {
		k := w.Must(w.l.Acquire(bg, w.key, time.Hour))
		return func(*world) { _ = k.Release(bg) }
	}
	passing := func(w *world) func(*world) { // the lease must be extended first
		w.l.Cohort = redigolock.Cohort{Passes: 9, Slice: time.Hour}
		k := w.Must(w.l.Acquire(bg, w.key, 30*time.Second))
		ctx, leave := context.WithCancel(bg)
		inBackground(func() error {
			k, err := w.l.Acquire(ctx, w.key, time.Hour)
			if err == nil { // it came before ctx ended
				err = k.Release(bg)
			}
			return err
		})
		eventually(w.T, "somebody waits", func() bool { return redigolock.LocalWaiters(w.l, w.key) == 1 })
		return func(w *world) {
			defer leave()
			_ = k.Release(bg)
		}
	}
	lost := func(w *world) func(*world) {
		k := w.Must(w.l.Acquire(bg, w.key, time.Hour))
		k.KeepAlive(bg)
		w.Do("DEL", w.key)
		return func(*world) { _ = k.Verify(bg) }
	}
	heldByOther := func(f func(*world)) func(w *world) func(*world) {
		return func(w *world) func(*world) {
			k := w.Must(w.other().Acquire(bg, w.key, time.Hour))
			w.T.Cleanup(func() { _ = k.Release(bg) })
			return func(w *world) {
				defer k.Release(bg)
				f(w)
			}
		}
	}
	always := func(f func(*world)) func(*world) func(*world) {
		return func(*world) func(*world) { return f }
	}
	get := func(w *world) *trap { return w.p.get }
	send := func(w *world) *trap { return w.p.send }
	reply := func(w *world) *trap { return w.p.reply }
	observer := func(w *world) *trap { return w.o }
	for name, tt := range map[string]struct {
		ready func(*world) func(*world)
		at    func(*world) *trap
	}{
		"Acquire, in Get":                        {always(acquire), get},
		"Acquire, before the command is sent":    {always(acquire), send},
		"Acquire, before the reply is read":      {always(acquire), reply},
		"Acquire, in Observer.Acquired":          {always(acquire), observer},
		"Acquire, in Observer.Contended":         {heldByOther(acquire), observer},
		"TryAcquire, in Get":                     {always(tryAcquire), get},
		"TryAcquire, before the command is sent": {always(tryAcquire), send},
		"TryAcquire, before the reply is read":   {always(tryAcquire), reply},
		"TryAcquire, in Observer.Acquired":       {always(tryAcquire), observer},
		"TryAcquire, in Observer.Contended":      {heldByOther(tryAcquire), observer},
		"Release, in Get":                        {held, get},
		"Release, before the command is sent":    {held, send},
		"Release, before the reply is read":      {held, reply},
		"Release, in the Get of a pass":          {passing, get},
		"Release, before a pass's reply is read": {passing, reply},
		"Verify, in Observer.Lost":               {lost, observer},
		"Release, in Observer.Released":          {held, observer},
	} {
		for _, exit := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "", true: ", Goexit"}[exit], func(t *testing.T) {
				t.Parallel()
				w := &world{fairRig: newFairRig(t), o: newTrap(exit)}
				w.p = &trapped{w.Server.Pool(), newTrap(exit), newTrap(exit), newTrap(exit), newTrap(exit)}
				w.l = w.fair(w.p)
				w.l.Observer = &redigolock.Observer{
					Acquired:  func(context.Context, *redigolock.Lock, time.Duration) { w.o.step() },
					Contended: func(context.Context, string, *redigolock.HeldError) { w.o.step() },
					Lost:      func(context.Context, *redigolock.Lock, error) { w.o.step() },
					Released:  func(context.Context, *redigolock.Lock, time.Duration, error) { w.o.step() },
					GaveUp:    func(context.Context, string, time.Duration, error) {},
				}
				f := tt.ready(w)
				tt.at(w).set(0)
				inGet := exit && tt.at(w) == w.p.get // on a goroutine of its own, where it is a failed borrow
				falls(t, inGet, func() { f(w) })
				eventually(t, "nobody stays in line", func() bool { return redigolock.LocalWaiters(w.l, w.key) == 0 })
				k := w.got("the next", waits(bg, w.l, w.key, time.Hour))
				w.OK(k.Release(bg))
				k = w.Must(w.other().Acquire(bg, w.key, time.Hour))
				w.OK(k.Release(bg))
				w.gone()
				w.OK(w.l.Close())
			})
		}
	}
}

// A dial of the user's that ends its goroutine ends one of the subscription's: it is dialled again.
func TestFairSubscriptionWhoseDialExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		p := &trapped{r.Server.Pool(), newTrap(true), newTrap(true), newTrap(true), newTrap(true)}
		l := r.fair(p)
		k := r.Must(r.other().Acquire(bg, r.key, time.Hour))
		p.dial.set(0)
		waiter := waits(bg, l, r.key, time.Hour)
		r.queued(1)
		r.OK(k.Release(bg))
		r.OK(r.got("the waiter", waiter).Release(bg))
		r.OK(l.Close())
		if redigolock.Subscribed(l) {
			t.Error("Close leaves the subscription")
		}
	})
}
