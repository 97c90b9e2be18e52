package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// The next class of Go's allocator is 176 bytes: a hundred thousand locks that are kept alive would take 1.6 MB more.
func TestSizeOfAKeeper(t *testing.T) {
	if redigolock.SizeOfKeeper > 160 {
		t.Errorf("a keeper has %d bytes, want 160 at most", redigolock.SizeOfKeeper)
	}
}

// due makes a lock whose renewal is due as soon as KeepAlive is called, for a third of its ttl is left.
func (r *rig) due(key string, ttl time.Duration) *redigolock.Lock {
	r.T.Helper()
	r.Do("SET", key, "token "+key, "PX", (ttl / 3).Milliseconds())
	return r.Must(r.Locker.Attach(bg, key, "token "+key, ttl))
}

// inOneBatch has the renewals of all locks sent in one batch, which the rule decides about: they become due while that of
// another lock waits for its reply.
func (r *rig) inOneBatch(locks []*redigolock.Lock, rule func(redistest.Request) redistest.Action) []context.Context {
	r.T.Helper()
	return r.inOneBatchAfter(func() {}, locks, rule)
}

// inOneBatchAfter calls wait before the batch.
func (r *rig) inOneBatchAfter(
	wait func(), locks []*redigolock.Lock, rule func(redistest.Request) redistest.Action,
) []context.Context {
	r.T.Helper()
	decoy := r.due("decoy", 10*time.Minute)
	open, arrived := make(chan struct{}), make(chan struct{}, 1)
	r.Proxy.Rule(func(q redistest.Request) redistest.Action {
		if verbOf(q) != "extend" {
			return redistest.Pass()
		}
		arrived <- struct{}{}
		return redistest.Hold(open)
	})
	decoy.KeepAlive(bg)
	receive(r.T, "the renewal of the other lock", arrived)
	var kept []context.Context
	for _, k := range locks {
		kept = append(kept, k.KeepAlive(bg))
	}
	wait()
	r.Proxy.Rule(rule)
	close(open)
	return kept
}

func (r *rig) dueMany(n int, ttl func(i int) time.Duration) (locks []*redigolock.Lock) {
	r.T.Helper()
	for i := range n {
		locks = append(locks, r.due(fmt.Sprint("key", i), ttl(i)))
	}
	return locks
}

func deadlines(locks []*redigolock.Lock) (all []time.Time) {
	for _, k := range locks {
		all = append(all, k.Deadline())
	}
	return all
}

// renewedSince waits until the Deadline of each lock has moved.
func (r *rig) renewedSince(locks []*redigolock.Lock, before []time.Time) {
	r.T.Helper()
	for i, k := range locks {
		eventually(r.T, "each lock is renewed, also "+k.Key(), func() bool { return k.Deadline().After(before[i]) })
	}
}

func TestRepliesOfABatchAreJudgedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 10 * time.Second
		const deleted, taken, retyped, persisted = 7, 13, 21, 33
		locks := r.dueMany(50, func(i int) time.Duration {
			if i == persisted {
				return 9 * time.Second
			}
			return time.Minute + time.Duration(i)*time.Second
		})
		r.Do("DEL", locks[deleted].Key())
		r.Do("SET", locks[taken].Key(), "another's", "PX", 60000)
		r.Do("DEL", locks[retyped].Key())
		r.Do("RPUSH", locks[retyped].Key(), "x")
		r.Do("PERSIST", locks[persisted].Key())
		before, begin := deadlines(locks), time.Now()
		kept := r.inOneBatch(locks, nil)
		for i, k := range locks {
			switch i {
			case deleted, taken, retyped:
				receive(t, "the context ends", kept[i].Done())
				wants(t, context.Cause(kept[i]), redigolock.ErrLost)
				wants(t, context.Cause(kept[i]), map[bool]error{true: redigolock.ErrConflict, false: redigolock.ErrNotHeld}[i == retyped])
				if !k.Deadline().Equal(before[i]) {
					t.Errorf("%s is not held, and its Deadline moved", k.Key())
				}
			case persisted:
			default:
				eventually(t, "a renewal", func() bool { return k.Deadline().After(before[i]) })
				ttl := time.Minute + time.Duration(i)*time.Second
				if d := k.Deadline(); d.Before(begin.Add(validFor(ttl))) || d.After(time.Now().Add(validFor(ttl))) {
					t.Errorf("%s: Deadline in %v, with a ttl of %v", k.Key(), time.Until(d), ttl)
				}
				if kept[i].Err() != nil {
					t.Errorf("%s: %v", k.Key(), context.Cause(kept[i]))
				}
			}
		}
		at := locks[persisted].Deadline()
		if !at.Equal(before[persisted]) {
			t.Error("a lock without TTL was extended")
		}
		receive(t, "the lock without TTL ends", kept[persisted].Done())
		if early := time.Until(at); early > time.Second {
			t.Errorf("the lock without TTL ended %v before Deadline", early)
		}
		wants(t, context.Cause(kept[persisted]), redigolock.ErrLost, redigolock.ErrConflict)
	})
}

func TestBatchThatBreaksRenewsTheAnsweredOnceAndTheOthersAgain(t *testing.T) {
	for name, action := range map[string]redistest.Action{
		"drop": redistest.Drop(), "cut": redistest.Cut(), "truncate": redistest.Truncate(1), "swallow": redistest.Swallow(),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				const requests = 10
				locks := r.dueMany(requests*redigolock.GroupMost, func(int) time.Duration { return time.Minute })
				before, n := deadlines(locks), 0
				answered := map[string]bool{} // by token
				conn := 0
				kept := r.inOneBatch(locks, func(q redistest.Request) redistest.Action {
					if n++; n < requests/2 {
						for _, token := range tokensOf(q) {
							answered[token], conn = true, q.Conn
						}
					}
					if n == requests/2 {
						return action
					}
					return redistest.Pass()
				})
				r.renewedSince(locks, before)
				r.Proxy.Rule(nil)
				sends := map[string]int{}
				for _, q := range r.Sent("extend") {
					for _, token := range tokensOf(q) {
						if sends[token]++; sends[token] > 1 && q.Conn == conn {
							t.Errorf("%v was sent again on the connection that broke", q)
						}
					}
				}
				for i, k := range locks {
					if kept[i].Err() != nil {
						t.Errorf("%s: %v", k.Key(), context.Cause(kept[i]))
					}
					// A proxy that closes with requests unread resets the connection, and the kernel then throws replies away
					// that were on their way: only without that it is known that the client had them.
					if n := sends[k.Token()]; answered[k.Token()] && n != 1 && name == "swallow" || n > 2 {
						t.Errorf("%s was answered, and sent %d times", k.Key(), n)
					}
				}
				if want := (requests/2 - 1) * redigolock.GroupMost; len(answered) != want {
					t.Errorf("%d were answered, want %d", len(answered), want)
				}
			})
		})
	}
}

func TestBatchOnAServerThatForgotTheScript(t *testing.T) {
	for name, first := range map[string]int{"before": 1, "in the middle of it": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				const requests = 3
				locks := r.dueMany(requests*redigolock.GroupMost, func(int) time.Duration { return time.Minute })
				before, n := deadlines(locks), 0
				r.inOneBatch(locks, func(redistest.Request) redistest.Action {
					if n++; n == first {
						if _, err := r.Server.Do("SCRIPT", "FLUSH"); err != nil {
							t.Error(err)
						}
					}
					return redistest.Pass()
				})
				r.renewedSince(locks, before)
				texts := 0
				for _, q := range r.Proxy.Requests() {
					if q.Name == "EVAL" {
						texts++
					}
				}
				if n := len(r.Sent("extend")); texts != 1 || n != 2*requests-(first-1) { // those that were refused, once more
					t.Errorf("%d texts of the script and %d calls of it were sent", texts, n)
				}
			})
		})
	}
}

func TestBasisOfABatchIsTheTimeBeforeItsSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 10 * time.Second
		locks := r.dueMany(20, func(i int) time.Duration { return time.Minute + time.Duration(i)*time.Second })
		before := deadlines(locks)
		var arrived time.Time
		r.inOneBatch(locks, func(redistest.Request) redistest.Action {
			if arrived.IsZero() {
				arrived = time.Now()
			}
			return redistest.Delay(200 * time.Millisecond)
		})
		r.renewedSince(locks, before)
		r.Proxy.Rule(nil)
		for i, k := range locks {
			latest := arrived.Add(validFor(time.Minute + time.Duration(i)*time.Second))
			if d := k.Deadline(); d.After(latest) {
				t.Errorf("%s: Deadline is %v later than counted from the arrival of the batch", k.Key(), d.Sub(latest))
			}
		}
	})
}

// mentions returns the requests from index on that name the token.
func (r *rig) mentions(index int, token string) (found []redistest.Request) {
	for _, q := range r.Proxy.Requests()[index:] {
		if slices.Contains(q.Args, token) {
			found = append(found, q)
		}
	}
	return found
}

func TestReleaseWaitsForTheBatchInFlight(t *testing.T) {
	for name, again := range map[string]bool{"kept once": false, "kept again meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.OpTimeout = time.Minute
				k := r.due("key", 10*time.Minute)
				parent, cancel := context.WithCancel(bg)
				open, arrived := make(chan struct{}), make(chan struct{}, 1)
				r.Rule(func(verb string, n int) redistest.Action {
					if verb == "extend" && n == 1 {
						arrived <- struct{}{}
						return redistest.Hold(open)
					}
					return redistest.Pass()
				})
				defer cancel()
				kept := k.KeepAlive(parent)
				receive(t, "the renewal arrives", arrived)
				if again { // the renewal in flight is then that of a keeper that is gone
					cancel()
					receive(t, "the context ends", kept.Done())
					eventually(t, "the keeper is gone", func() bool { return !redigolock.Kept(k) })
					k.KeepAlive(bg)
				}
				released := inBackground(func() error { return k.Release(bg) })
				start := time.Now()
				eventually(t, "some time passes", func() bool { return time.Since(start) > 200*time.Millisecond })
				if len(r.Sent("release")) != 0 {
					t.Error("the release was sent while a renewal was in flight")
				}
				close(open)
				r.OK(receive(t, "Release returns", released))
			})
		})
	}
}

func TestReleaseIsBoundedThoughTheBatchHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 200 * time.Millisecond
		locks := r.dueMany(10, func(int) time.Duration { return 10 * time.Minute })
		arrived := make(chan struct{}, 1000)
		r.inOneBatch(locks, func(redistest.Request) redistest.Action {
			arrived <- struct{}{}
			return redistest.Swallow()
		})
		receive(t, "the batch arrives", arrived)
		start := time.Now()
		for _, k := range locks[:3] {
			_ = k.Release(bg) // it is swallowed, too
			index := len(r.Proxy.Requests())
			defer func() {
				found := slices.DeleteFunc(r.mentions(index, k.Token()), func(q redistest.Request) bool {
					return verbOf(q) == "release" // of the clean-up
				})
				if len(found) > 0 {
					t.Errorf("after Release: %v", found)
				}
			}()
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("three releases took %v", took)
		}
		eventually(t, "the others are tried again", func() bool { return len(r.Sent("extend")) > 40 })
	})
}

func TestNothingIsSentForALockReleasedWhileTheRenewerDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := newGatedPool(r.Proxy.Pool())
		r.Locker.Pool, r.Locker.OpTimeout = pool, 10*time.Second
		k, other := r.due("key", 10*time.Minute), r.due("other", 10*time.Minute)
		before := []time.Time{other.Deadline()}
		pool.armed.Store(true)
		k.KeepAlive(bg)
		receive(t, "the renewer dials", pool.waiting)
		other.KeepAlive(bg)
		released := make(chan error, 1)
		go func() { released <- k.Release(bg) }() // waits for the renewal
		synctest.Wait()
		close(pool.open)
		r.OK(receive(t, "it is released", released))
		r.renewedSince([]*redigolock.Lock{other}, before)
		if found := r.extends(0, k.Token()); len(found) > 0 {
			t.Errorf("renewed while it is released: %v", found)
		}
		r.OK(other.Release(bg))
	})
}

// A countingDialer makes a pool that counts its dials.
type countingDialer struct{ dials atomic.Int64 }

func (d *countingDialer) pool(dial func(...redis.DialOption) (redis.Conn, error)) *redis.Pool {
	return &redis.Pool{MaxIdle: 64, Dial: func() (redis.Conn, error) {
		d.dials.Add(1)
		return dial()
	}}
}

func TestDialsAreFewWhileTheServerCannotBeReached(t *testing.T) {
	for name, stop := range map[string]func(*rig){
		"connections close at once": func(r *rig) { r.Proxy.Refuse(true); r.Proxy.CutAll() },
		"connections break at the first command": func(r *rig) {
			r.Rule(func(string, int) redistest.Action { return redistest.Cut() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				var dialer countingDialer
				r.Locker.Pool = dialer.pool(r.Proxy.Dial)
				locks := r.dueMany(200, func(int) time.Duration { return 30 * time.Second })
				before := deadlines(locks)
				stop(r)
				first := dialer.dials.Load()
				var kept []context.Context
				for _, k := range locks {
					kept = append(kept, k.KeepAlive(bg))
				}
				start := time.Now()
				dialled := func() int64 { return dialer.dials.Load() - first }
				eventually(t, "some dials, and a while", func() bool { return dialled() >= 3 && time.Since(start) > time.Second })
				dials := dialled()
				r.Proxy.Refuse(false)
				r.Proxy.Rule(nil)
				if dials > 40 {
					t.Errorf("%d dials in %v for %d locks", dials, time.Since(start), len(locks))
				}
				r.renewedSince(locks, before)
				for _, ctx := range kept {
					if ctx.Err() != nil {
						t.Error(context.Cause(ctx))
					}
				}
			})
		})
	}
}

// redigo bounds a write only where the pool's dial says so.
func TestWriteThatHangsDoesNotStopTheRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := &redis.Pool{MaxIdle: 1, Dial: func() (redis.Conn, error) { return r.Server.Dial() }}
		defer pool.Close()
		r.Locker.Pool = pool
		padding := strings.Repeat("x", 60_000)
		var locks []*redigolock.Lock
		for i := range 300 { // more than the sockets' buffers take
			locks = append(locks, r.due(fmt.Sprint(padding, i), 10*time.Minute))
		}
		r.Locker.OpTimeout = 300 * time.Millisecond
		r.Server.Pause()
		for _, k := range locks {
			k.KeepAlive(bg)
		}
		start := time.Now()
		eventually(t, "it hangs", func() bool { return time.Since(start) > 2*time.Second })
		released := inBackground(func() error { return locks[0].Release(bg) })
		closed := inBackground(r.Locker.Close)
		receive(t, "Close returns", closed)
		eventually(t, "the renewer ends though the server does not read", func() bool {
			return !running("renewal.(*line).run") || time.Since(start) > 9*time.Second
		})
		if running("renewal.(*line).run") {
			t.Error("the renewer hangs in a write")
		}
		r.Server.Resume()
		receive(t, "Release returns", released)
	})
}

func TestShortSuspensionEndsKeepAliveByTheWallClock(t *testing.T) {
	t.Parallel() // in real time: a bubble's time has no monotonic reading to move
	r := newRig(t)
	c := stopClock(r.Locker)
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Hour))
	r.Rule(func(verb string, _ int) redistest.Action {
		if verb == "extend" {
			return redistest.Reply("-LOADING a\r\n")
		}
		return redistest.Pass()
	})
	kept := k.KeepAlive(bg)
	c.AddWall(t, 40*time.Minute)
	start := time.Now() // less than half of the ttl is left
	eventually(t, "a renewal, and the suspension is seen", func() bool {
		return len(r.Sent("extend")) > 0 && time.Since(start) > 2500*time.Millisecond
	})
	if kept.Err() != nil {
		t.Fatalf("lost too early: %v", context.Cause(kept))
	}
	c.Add(25 * time.Minute) // 65 minutes by the wall clock, 25 by the other
	receive(t, "the loss is seen", kept.Done())
	wants(t, context.Cause(kept), redigolock.ErrLost)
}

func TestConnectionThatHangsCostsNoOtherLock(t *testing.T) { // not even one of a far shorter ttl, in no batch then
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 9 * time.Second
		long, arrived := r.due("long", 10*time.Minute), make(chan struct{}, 1)
		r.Rule(func(verb string, n int) redistest.Action {
			if verb == "extend" && n == 1 {
				arrived <- struct{}{}
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		short := r.Must(r.Locker.TryAcquire(bg, "short", 4*time.Second))
		first := short.Deadline()
		kept := short.KeepAlive(bg)
		long.KeepAlive(bg)
		receive(t, "the renewal arrives", arrived)
		eventually(t, "the short one is renewed or lost", func() bool { return kept.Err() != nil || short.Deadline().After(first) })
		if kept.Err() != nil {
			t.Errorf("lost: %v", context.Cause(kept))
		}
	})
}

// A foreignContext is of no type of package context.
type foreignContext struct {
	context.Context
	done chan struct{}
	mu   sync.Mutex // protects err
	err  error
}

func (c *foreignContext) Done() <-chan struct{} { return c.done }

func (c *foreignContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *foreignContext) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.done)
}

func TestKeepAliveUnderAForeignContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		over := errors.New("over")
		parent := &foreignContext{Context: bg, done: make(chan struct{})}
		kept := k.KeepAlive(parent)
		if kept.Err() != nil || !redigolock.Kept(k) {
			t.Fatal("not kept alive")
		}
		parent.end(over)
		receive(t, "the context ends", kept.Done())
		if context.Cause(kept) != over {
			t.Errorf("the cause is %v", context.Cause(kept))
		}
		eventually(t, "the renewals end", func() bool { return !redigolock.Renewing(k) })
		k.KeepAlive(&foreignContext{Context: bg, done: make(chan struct{})}) // never ends: Release must
		r.OK(k.Release(bg))
	})
}

// A bindingPool's connections must be bound to the key of each command, as those to a Redis Cluster.
type bindingPool struct {
	*redis.Pool
	t *testing.T
}

type bindingConn struct {
	redis.Conn
	t   *testing.T
	key string
}

func (p bindingPool) Get() redis.Conn { return &bindingConn{Conn: p.Pool.Get(), t: p.t} }

func (p bindingPool) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := p.Pool.GetContext(ctx)
	return &bindingConn{Conn: c, t: p.t}, err
}

func (c *bindingConn) Bind(keys ...string) error {
	c.key = keys[0]
	return nil
}

func (c *bindingConn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	if cmd == "EVALSHA" && args[2] != any(c.key) {
		c.t.Errorf("a command for %v on a connection that is bound to %q", args[2], c.key)
	}
	return redis.DoWithTimeout(c.Conn, timeout, cmd, args...)
}

func (c *bindingConn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, timeout)
}

func (c *bindingConn) Send(cmd string, args ...any) error {
	if cmd == "EVALSHA" && args[2] != any(c.key) {
		c.t.Errorf("a command for %v on a connection that is bound to %q", args[2], c.key)
	}
	return c.Conn.Send(cmd, args...)
}

func TestLocksOfAClusterAreRenewedOneByOneOnBoundConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.Pool = bindingPool{r.Proxy.Pool(), t}
		locks := r.dueMany(30, func(int) time.Duration { return 10 * time.Minute })
		before := deadlines(locks)
		var kept []context.Context
		for _, k := range locks {
			kept = append(kept, k.KeepAlive(bg))
		}
		r.renewedSince(locks, before)
		for i, k := range locks {
			if kept[i].Err() != nil {
				t.Error(context.Cause(kept[i]))
			}
			r.OK(k.Release(bg))
		}
	})
}
