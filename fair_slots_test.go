package redigolock_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// What is refused for good leaves nothing behind in the Locker: neither the subscription, nor a dial, nor a script.
func TestFairRefusedKeysAreForgotten(t *testing.T) {
	refuse := func(verb string) func(*sim.Server) {
		return func(s *sim.Server) {
			s.Rule(func(r sim.Request) sim.Action {
				if r.Verb == verb {
					return sim.Refuse("NOPERM no")
				}
				return sim.Pass()
			})
		}
	}
	for name, tt := range map[string]struct {
		refuse func(*sim.Server)
	}{
		"SUBSCRIBE": {refuse("subscribe")},
		"TRY":       {refuse("try")},
		"ENTER":     {refuse("enter")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l, other := simFair(t, s), simFair(t, s)
				const n = 300
				for i := range n {
					mustGet(t)(other.Acquire(bg, fmt.Sprint("key", i), time.Hour))
				}
				tt.refuse(s)
				for i := range n {
					if _, err := l.Acquire(bg, fmt.Sprint("key", i), time.Hour); err == nil {
						t.Fatal("no error")
					}
				}
				time.Sleep(10 * time.Second) // a subscription lives for a while
				if n := redigolock.FairSlots(l); n > 0 {
					t.Errorf("%d slots are left", n)
				}
			})
		})
	}
}

// A slot is kept as long as its holder's lease, and no longer than the sweep pauses.
func TestFairSlotsOfLocksThatRanOutAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		const n = 300
		kept := mustGet(t)(l.TryAcquire(bg, "kept", 20*time.Second))
		kept.KeepAlive(bg)
		for i := range n {
			mustGet(t)(l.TryAcquire(bg, fmt.Sprint("key", i), time.Duration(i+1)*100*time.Millisecond))
		}
		for i := range 30 {
			if got, want := redigolock.FairSlots(l), n-10*i; got < want-3 || got > want+1+30 {
				t.Errorf("%d slots after %d s, %d locks have not run out", got, i, want)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if n := redigolock.FairSlots(l); n != 1 {
			t.Errorf("%d slots are left beside that of a lock that is kept alive", n)
		}
		if err := kept.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// What a fair Locker remembers of keys goes when their leases are over, however many they are and whenever they end: also after
// it once had nothing to remember, and where a lease ends before those that were looked for.
func TestFairForgetsWhateverEnds(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		hold := func(n int, ttl time.Duration) {
			for i := range n {
				mustGet(t)(l.TryAcquire(bg, fmt.Sprint(ttl, i), ttl))
			}
		}
		slots := func(when string, want int) {
			if n := redigolock.FairSlots(l); n != want {
				t.Errorf("%s: %d slots, want %d", when, n, want)
			}
		}
		hold(300, 3*time.Second)
		time.Sleep(6 * time.Second)
		slots("all at one time", 0)
		time.Sleep(10 * time.Second)
		hold(10, 4*time.Second)
		time.Sleep(7 * time.Second)
		slots("after there were none", 0)
		hold(10, time.Hour)
		hold(10, 5*time.Second)
		time.Sleep(8 * time.Second)
		slots("before those that were looked for", 10)
		time.Sleep(time.Hour)
		slots("the last", 0)
	})
}

// A slot that was to be remembered for an hour, and is not any longer, is forgotten when the shorter lease that follows is over.
func TestFairForgetsAfterAShorterLease(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		next := waits(bg, l, "key", 10*time.Second)
		time.Sleep(time.Second)
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		if a := <-next; a.Err != nil {
			t.Fatal(a.Err)
		}
		time.Sleep(time.Minute)
		if n := redigolock.FairSlots(l); n != 0 {
			t.Errorf("%d slots are left", n)
		}
	})
}

// Waiters that come and go while no subscription can be had leave nothing behind.
func TestFairForgetsWhatItCouldNotSubscribeTo(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		other, l := simFair(t, s), simFair(t, s)
		mustGet(t)(l.TryAcquire(bg, "its connection stays in the pool", time.Second))
		accept := func() {}
		for i := range 20 {
			key := fmt.Sprint(i)
			mustGet(t)(other.TryAcquire(bg, key, time.Hour))
			accept()
			accept = s.RefuseDials()
			ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
			if _, err := l.Acquire(ctx, key, time.Second); err == nil {
				t.Fatal("it has a lock that another holds")
			}
			cancel()
		}
		time.Sleep(time.Minute)
		if n := redigolock.FairJoining(l); n != 0 || redigolock.Subscribed(l) {
			t.Errorf("%d slots are to be subscribed to, although nobody waits; it is subscribed: %v", n, redigolock.Subscribed(l))
		}
	})
}

// A waiter whose goroutine ends in the user's code, while the lock is granted to it, leaves the lock to nobody: it is released,
// counts no longer, and the next waiter of the same Locker gets it at once.
func TestFairGrantToAWaiterThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Other().Acquire(bg, r.Key, time.Hour))
		granted := make(chan struct{})
		var told atomic.Bool
		r.Locker.Observer = &redigolock.Observer{Contended: func(context.Context, string, *redigolock.HeldError) {
			if told.CompareAndSwap(false, true) { // that of TRY, on the waiter's goroutine
				<-granted
				panic("mine")
			}
		}}
		fell := inBackground(func() (p any) {
			defer func() { p = recover() }()
			_, err := r.Locker.Acquire(bg, r.Key, time.Hour)
			return err
		})
		r.Queued(1)
		r.OK(k.Release(bg))
		time.Sleep(100 * time.Millisecond)
		close(granted)
		if p := receive(t, "it panics", fell); p != "mine" {
			t.Fatalf("Acquire ended with %v", p)
		}
		if n := r.Locker.Stats().Held; n != 0 {
			t.Errorf("%d locks count as held", n)
		}
		begin := time.Now()
		k = r.Got("the next", waits(bg, r.Locker, r.Key, time.Hour))
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// idleConns has a pool with so many idle connections.
func idleConns(t *testing.T, p *redis.Pool, n int) {
	t.Helper()
	var all []redis.Conn
	for range n {
		c := p.Get()
		if _, err := c.Do("PING"); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		c.Close()
	}
}

// Idle connections that died cost a fair Locker no lock: a fresh one is asked within the same OpTimeout.
func TestFairIdleConnectionsThatDied(t *testing.T) {
	for name, acquire := range map[string]func(l *redigolock.Locker, ctx context.Context) (*redigolock.Lock, error){
		"TryAcquire": func(l *redigolock.Locker, ctx context.Context) (*redigolock.Lock, error) {
			return l.TryAcquire(ctx, "key", time.Minute)
		},
		"Acquire": func(l *redigolock.Locker, ctx context.Context) (*redigolock.Lock, error) {
			return l.Acquire(ctx, "key", time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				p := s.Pool()
				p.MaxIdle = 40
				idleConns(t, p, 40)
				l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
				s.CloseConns()
				begin := time.Now()
				ctx, cancel := context.WithTimeout(bg, time.Second)
				defer cancel()
				k := mustGet(t)(acquire(l, ctx))
				if took := time.Since(begin); took > time.Second {
					t.Errorf("it took %v", took)
				}
				time.Sleep(5 * time.Second) // the lost one is cleaned up
				if err := k.Verify(bg); err != nil {
					t.Error(err)
				}
				if held, _ := redis.String(s.Do("GET", "key")); held != k.Token() {
					t.Errorf("the key has %q, the handle %q", held, k.Token())
				}
				if redigolock.FairOwes(l) {
					t.Error("the lost try is not cleaned up")
				}
			})
		})
	}
}

// Idle connections whose peer has vanished cost a fair Acquire one OpTimeout, however many there are; a TryAcquire ends with
// ErrUnknown then, exactly.
func TestFairIdleConnectionsThatAreHalfOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		p := s.Pool()
		p.MaxIdle = 40
		idleConns(t, p, 40)
		l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
		s.HalfOpen()
		inTime(t, "TryAcquire", redigolock.DefaultOpTimeout, func() {
			_, err := l.TryAcquire(bg, "another", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
		})
		begin := time.Now()
		mustGet(t)(l.Acquire(bg, "key", time.Minute))
		if took := time.Since(begin); took > redigolock.DefaultOpTimeout+100*time.Millisecond {
			t.Errorf("Acquire took %v", took)
		}
		time.Sleep(10 * time.Second)
		if redigolock.FairOwes(l) {
			t.Error("the lost try is not cleaned up")
		}
	})
}

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
						k := r.Must(r.Other().Acquire(bg, r.Key, time.Minute))
						r.outcomeAfterClose(x, fails)
						if n := len(r.Entries()); n != 0 != fails {
							t.Errorf("%d entries are left", n)
						}
						r.OK(k.Release(bg))
					} else {
						r.outcomeAfterClose(x, fails)
					}
					r.Gone()
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
	l := r.Fair(pool)
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
		_, err := x.acquire(l, bg, r.Key, 3*time.Second)
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
		came := r.Once("try", 1, redistest.Swallow())
		ctx, cancel := context.WithCancel(bg)
		ended := inBackground(func() error {
			_, err := r.Locker.TryAcquire(ctx, r.Key, time.Minute)
			return err
		})
		<-came
		closed := inBackground(r.Locker.Close)
		eventually(t, "Close waits", func() bool { return redigolock.FairCloseWaits(r.Locker) })
		cancel()
		wants(t, receive(t, "it ends", ended), context.Canceled, redigolock.ErrUnknown)
		r.OK(receive(t, "Close returns", closed))
		if r.Get(r.Key) != "" {
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
		k := r.Must(r.Locker.Acquire(bg, r.Key, 2*time.Second))
		r.OK(r.Locker.Close())
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb == "rel" {
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		r.Gone() // by its ttl
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
				k := r.Must(r.Locker.Acquire(bg, r.Key, time.Minute))
				wants(t, k.Release(bg), redigolock.ErrUnknown)
				eventually(t, "the pauses are long", func() bool { return len(r.Sent("rel")) >= failures })
				before := len(r.Sent("rel"))
				away.Store(!back)
				r.OK(r.Locker.Close())
				if n := len(r.Sent("rel")) - before; n == 0 || !back && n < 3 {
					t.Errorf("it was tried %d times while Close waited", n)
				}
				if released := r.Get(r.Key) == ""; released != back {
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

// Waiters that give up at random leave no entry, no lock, no slot, no goroutine behind; and the others are served.
func TestFairWaitersGiveUpAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		const lockers, waiters, enough = 4, 40, 20
		r.Server.(*testbed.SimServer).Delay(500 * time.Microsecond)
		var all []*redigolock.Locker
		for range lockers {
			all = append(all, r.Fair(r.Proxy.Pool()))
		}
		var wg sync.WaitGroup
		var mu sync.Mutex // protects served, inside
		served, inside := 0, 0
		begin := time.Now()
		goOn := func() bool {
			mu.Lock()
			defer mu.Unlock()
			took := time.Since(begin)
			return took < 300*time.Millisecond || served < enough && took < 3*time.Second
		}
		for i := range waiters {
			wg.Go(func() {
				for goOn() {
					ctx, cancel := context.WithTimeout(bg, rand.N(30*time.Millisecond))
					k, err := all[i%lockers].Acquire(ctx, r.Key, fairTestTTL)
					cancel()
					if err != nil {
						wants(t, err, context.DeadlineExceeded)
						continue
					}
					mu.Lock()
					if served++; inside != 0 {
						t.Error("two hold the lock")
					}
					inside++
					mu.Unlock()
					time.Sleep(rand.N(100 * time.Microsecond))
					mu.Lock()
					inside--
					mu.Unlock()
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		r.Gone()
		if served < enough {
			t.Errorf("only %d were served", served)
		}
		for _, l := range all {
			eventually(t, "all slots go", func() bool { return redigolock.FairSlots(l) <= 1 })
			r.OK(l.Close())
			if redigolock.FairSlots(l) != 0 || redigolock.Subscribed(l) {
				t.Error("a slot or a subscription is left after Close")
			}
		}
	})
}

// After many keys nothing is left: no key on the server, no slot in the Locker, no connection more than before.
func TestFairManyKeysLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		l, other := r.Other(), r.Other()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range testbed.Many(500) {
					key := "key-" + string(rune('a'+n%26)) + strings.Repeat("x", n/26)
					for _, locker := range []*redigolock.Locker{l, other}[i%2:] {
						k, err := locker.Acquire(bg, key, fairTestTTL)
						if err != nil {
							t.Error(err)
							return
						}
						if err := k.Release(bg); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		r.Gone()
		eventually(t, "nothing is left of the keys", func() bool {
			return redigolock.FairSlots(l)+redigolock.FairSlots(other) == 0 && !redigolock.Subscribed(l) && !redigolock.Subscribed(other)
		})
	})
}
