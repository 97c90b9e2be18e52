package redigolock_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A hangingPool dials through the rig's proxy; from hang on it makes connections that hang and cannot be interrupted, until
// letGo makes them fail, and later ones work.
type hangingPool struct {
	*splitPool
	hanging  atomic.Bool
	dialling chan struct{} // receives from each connection that hangs
	free     chan struct{}
}

func newHangingPool(r *fairRig) *hangingPool {
	p := &hangingPool{splitPool: &splitPool{Pool: r.Proxy.Pool()}, dialling: make(chan struct{}), free: make(chan struct{})}
	p.dial = func(...redis.DialOption) (redis.Conn, error) {
		if !p.hanging.Load() {
			return p.Pool.Dial()
		}
		return &stubbornConn{pool: p, closed: make(chan struct{})}, nil
	}
	return p
}

// A stubbornConn has the six methods of a redis.Conn only, so that no timeout and no context ends its wait for a reply.
type stubbornConn struct {
	pool   *hangingPool
	dead   atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (c *stubbornConn) Do(cmd string, _ ...any) (any, error) {
	if cmd == "" {
		return nil, nil
	}
	return c.Receive()
}

func (c *stubbornConn) Receive() (any, error) {
	select {
	case c.pool.dialling <- struct{}{}:
		select {
		case <-c.pool.free:
		case <-c.closed:
		}
	case <-c.pool.free:
	case <-c.closed:
	}
	c.dead.Store(true)
	return nil, io.EOF
}

func (c *stubbornConn) Send(string, ...any) error { return nil }
func (c *stubbornConn) Flush() error              { return nil }
func (c *stubbornConn) Close() error              { c.once.Do(func() { close(c.closed) }); return nil }

func (c *stubbornConn) Err() error {
	if c.dead.Load() {
		return io.EOF
	}
	return nil
}

func (p *hangingPool) hang() { p.hanging.Store(true) }

func (p *hangingPool) letGo() {
	p.hanging.Store(false)
	close(p.free)
}

// Close does not wait for ever for a connection that nothing can interrupt. What turns out only after it that it may have got a lock,
// or a place in the queue, is given up all the same, by one try. If that fails, the lock goes with its ttl, and the entry
// is passed over.
func TestFairOutcomeThatIsUnknownAfterCloseIsTriedOnce(t *testing.T) {
	for _, x := range []lateOutcome{
		{"TryAcquire", (*redigolock.Locker).TryAcquire, "try", "rel", 1},
		{"Acquire", (*redigolock.Locker).Acquire, "try", "rel", 2}, // the other is its subscription
		{"Acquire queued", (*redigolock.Locker).Acquire, "enter", "quit", 1},
	} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the try fails %v", x.name, fails), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newSimFairRig(t)
					if x.undo == "quit" {
						k := r.Must(r.other().Acquire(bg, r.key, time.Minute))
						r.outcomeAfterClose(x, fails)
						if n := len(r.entries()); n != 0 != fails {
							t.Errorf("%d entries are left", n)
						}
						r.OK(k.Release(bg))
					} else {
						r.outcomeAfterClose(x, fails)
					}
					r.gone()
				})
			})
		}
	}
}

// A lateOutcome is a command whose reply is lost, and whose outcome is asked for on a connection that hangs.
type lateOutcome struct {
	name    string
	acquire func(*redigolock.Locker, context.Context, string, time.Duration) (*redigolock.Lock, error)
	lost    string // the command
	undo    string // what gives up what it has got
	conns   int    // how many hang
}

// outcomeAfterClose closes a Locker meanwhile, and checks what it sends when it must not wait any longer.
func (r *fairRig) outcomeAfterClose(x lateOutcome, fails bool) {
	r.T.Helper()
	pool := newHangingPool(r)
	l := r.fair(pool)
	l.OpTimeout = time.Second
	r.Rule(func(verb string, n int) redistest.Action {
		switch {
		case verb == x.lost && n == 1:
			pool.hang()
			return redistest.Drop()
		case verb == x.undo && fails:
			return redistest.Cut()
		}
		return redistest.Pass()
	})
	ended := inBackground(func() error {
		_, err := x.acquire(l, bg, r.key, 3*time.Second)
		return err
	})
	for range x.conns {
		receive(r.T, "it asks again on a connection of its own", pool.dialling)
	}
	r.OK(receive(r.T, "Close returns", inBackground(l.Close)))
	if n := len(r.Sent(x.undo)); n != 0 {
		r.T.Errorf("%s was sent %d times before the outcome was known", x.undo, n)
	}
	pool.letGo()
	wants(r.T, receive(r.T, "it ends", ended), redigolock.ErrUnknown)
	eventually(r.T, "its slot goes", func() bool { return redigolock.FairSlots(l) == 0 })
	if n := len(r.Sent(x.undo)); n != 1 {
		r.T.Errorf("%s was sent %d times", x.undo, n)
	}
}

// A TryAcquire that is unanswered when Close comes is waited for, and what it may have got is released when Close returns.
func TestFairCloseWaitsForAnUnansweredTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		came := r.once("try", 1, redistest.Swallow())
		ctx, cancel := context.WithCancel(bg)
		ended := inBackground(func() error {
			_, err := r.Locker.TryAcquire(ctx, r.key, time.Minute)
			return err
		})
		<-came
		closed := inBackground(r.Locker.Close)
		eventually(t, "Close waits", func() bool { return redigolock.FairCloseWaits(r.Locker) })
		cancel()
		wants(t, receive(t, "it ends", ended), context.Canceled, redigolock.ErrUnknown)
		r.OK(receive(t, "Close returns", closed))
		if r.Get(r.key) != "" {
			t.Error("it is not released")
		}
		if n := len(r.Sent("rel")); n != 2 {
			t.Errorf("the server has confirmed it %d times", n)
		}
	})
}

// A Release after Close tries twice, as ever, and nothing more is sent for it.
func TestFairReleaseAfterCloseIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.key, 2*time.Second))
		r.OK(r.Locker.Close())
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb == "rel" {
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		r.gone() // by its ttl
		if n := len(r.Sent("rel")); n != 2 || redigolock.FairSlots(r.Locker) != 0 {
			t.Errorf("REL was sent %d times, %d slots are left", n, redigolock.FairSlots(r.Locker))
		}
	})
}

// What is retried in the background with long pauses is retried with short ones while Close waits: the server may be
// back. If it is not, Close gives it up, and leaves nothing behind.
func TestFairCloseEndsLongPauses(t *testing.T) {
	const failures = 10 // the pause after them is 5 s, and Close waits for 3 OpTimeouts
	for name, back := range map[string]bool{"the server is back": true, "the server is away": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = time.Second
				var away atomic.Bool
				away.Store(true)
				r.Rule(func(verb string, _ int) redistest.Action {
					if verb == "rel" && away.Load() {
						return redistest.Cut()
					}
					return redistest.Pass()
				})
				k := r.Must(r.Locker.Acquire(bg, r.key, time.Minute))
				wants(t, k.Release(bg), redigolock.ErrUnknown)
				eventually(t, "the pauses are long", func() bool { return len(r.Sent("rel")) >= failures })
				before := len(r.Sent("rel"))
				away.Store(!back)
				r.OK(r.Locker.Close())
				if n := len(r.Sent("rel")) - before; n == 0 || !back && n < 3 {
					t.Errorf("it was tried %d times while Close waited", n)
				}
				if released := r.Get(r.key) == ""; released != back {
					t.Errorf("it is released: %v, want %v", released, back)
				}
				if !back {
					// One that was sent just before Close returned may not be answered yet.
					eventually(t, "its slot goes", func() bool { return redigolock.FairSlots(r.Locker) == 0 })
				}
			})
		})
	}
}
