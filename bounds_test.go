package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// The bounds of the table. Virtual time needs no tolerance.
const (
	boundCtx     = 100 * time.Millisecond // of the context, where that is what ends the call
	boundOp      = 300 * time.Millisecond // OpTimeout, where that ends it
	boundLongOp  = time.Second            // OpTimeout, where the context ends it; shorter than a dial hangs by itself
	boundWait    = 2 * time.Second        // of the context of a waiting acquire with Fair, which OpTimeout does not end
	boundTTL     = time.Minute
	boundKey     = "key"
	boundTimeout = 3 * time.Second // what a pool's own timeouts come to, at most
)

// A boundCase is one cell of the table.
type boundCase struct{ verb, pool, hang, by string }

func (c boundCase) String() string { return c.verb + "/" + c.pool + "/" + c.hang + "/" + c.by }

func (c boundCase) op() time.Duration {
	if c.by == "ctx" {
		return boundLongOp
	}
	return boundOp
}

// A boundWorld is a cell that is being tried.
type boundWorld struct {
	boundCase
	t       *testing.T
	s       *sim.Server
	redis   *redis.Pool // inside pool
	pool    redigolock.Pool
	mux     *redigolock.Mux // nil: pool is none
	locker  *redigolock.Locker
	k       *redigolock.Lock // nil: the verb needs none
	heal    []func()
	healAll func()
	started time.Time
}

// TestBounds tries every verb on every kind of pool against every hang: it returns exactly at its bound, be that the
// context's or OpTimeout's, and what it has left behind is gone after its own timeout.
func TestBounds(t *testing.T) {
	for _, verb := range boundVerbs {
		for _, pool := range []string{"plain", "testonborrow", "wrapped", "getonly", "tls", "mux", "fair"} {
			for _, hang := range []string{"dial", "handshake", "borrow", "reply", "middle"} {
				for _, by := range []string{"ctx", "op"} {
					c := boundCase{verb.name, pool, hang, by}
					t.Run(c.String(), func(t *testing.T) {
						t.Parallel()
						inBubble(t, func(t *testing.T, s *sim.Server) { verb.run(newBoundWorld(t, s, c)) })
					})
				}
			}
		}
	}
}

// newBoundWorld makes the pool and the Locker.
func newBoundWorld(t *testing.T, s *sim.Server, c boundCase) *boundWorld {
	w := &boundWorld{boundCase: c, t: t, s: s}
	scheme := "redis"
	if c.pool == "tls" || c.hang == "handshake" {
		scheme = "rediss"
	}
	w.redis = simPool(t, s, scheme)
	w.pool = w.redis
	switch c.pool {
	case "testonborrow":
		w.redis = usualPool(t, s, scheme)
		w.pool = w.redis
	case "wrapped":
		w.pool = struct{ *redis.Pool }{w.redis}
	case "getonly":
		w.pool = getPool{Pool: w.redis}
	case "mux":
		w.mux = &redigolock.Mux{Pool: w.redis}
		t.Cleanup(func() { w.mux.Close() })
		w.pool = w.mux
	}
	if c.hang == "dial" || c.hang == "handshake" {
		w.redis.MaxIdle = 0 // each borrow dials
	}
	if w.exhausts() {
		w.redis.MaxActive, w.redis.Wait = 1, true
	}
	w.locker = simLocker(t, &redigolock.Locker{Pool: w.pool, OpTimeout: c.op(), Fair: c.pool == "fair"})
	if c.by == "op" && c.pool != "fair" {
		w.locker.Retry = func(int, time.Duration) time.Duration { return -1 } // a wait is one try
	}
	return w
}

// usualPool is what redigo's documentation shows: a dial without a context, and a PING for each connection that is lent.
func usualPool(t *testing.T, s *sim.Server, scheme string) *redis.Pool {
	opts := append([]redis.DialOption{redis.DialUseTLS(scheme == "rediss"), redis.DialTLSHandshakeTimeout(2 * time.Second),
		redis.DialReadTimeout(time.Second), redis.DialWriteTimeout(time.Second)}, s.Options()...)
	p := &redis.Pool{
		MaxIdle: 8,
		Dial:    func() (redis.Conn, error) { return redis.Dial("tcp", "sim:6379", opts...) },
		TestOnBorrow: func(c redis.Conn, _ time.Time) error {
			_, err := c.Do("PING")
			return err
		},
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// hold acquires the lock that a verb needs, before anything hangs.
func (w *boundWorld) hold() *redigolock.Lock {
	w.t.Helper()
	k, err := w.locker.TryAcquire(bg, boundKey, boundTTL)
	if err != nil {
		w.t.Fatalf("with nothing that hangs: %v", err)
	}
	w.k = k
	return k
}

// begin makes it hang.
func (w *boundWorld) begin() {
	w.t.Helper()
	switch w.hang {
	case "dial", "handshake":
		w.loseMuxConn()
		hang := w.s.HangDials
		if w.hang == "handshake" {
			hang = w.s.HangHandshakes
		}
		w.heal = append(w.heal, hang())
	case "borrow":
		w.beginBorrow()
	case "reply":
		w.idle(1)
		w.heal = append(w.heal, w.s.Pause())
	case "middle":
		w.idle(1)
		w.s.Rule(func(sim.Request) sim.Action { return sim.Stop(2) })
		w.heal = append(w.heal, func() { w.s.Rule(nil) })
	}
	synctest.Wait()
	w.started = time.Now()
	w.healAll = sync.OnceFunc(func() {
		for _, f := range w.heal {
			f()
		}
	})
	rescue := time.AfterFunc(10*boundTTL, w.healAll) // a call without any bound is one cell that fails, not the whole table
	w.t.Cleanup(func() { rescue.Stop() })
}

// loseMuxConn lets a Mux know that its connection is gone, so that its next command dials.
func (w *boundWorld) loseMuxConn() {
	if w.mux == nil || w.k == nil {
		return
	}
	accept := w.s.RefuseDials()
	w.s.Cut()
	if err := w.k.Verify(bg); err == nil {
		w.t.Fatal("a cut connection still answers")
	}
	accept()
}

// exhausts reports whether the borrow hangs because all connections of the pool are in use. A Mux, and a pool that tests
// what it lends, hang there otherwise.
func (w *boundWorld) exhausts() bool {
	return w.hang == "borrow" && w.mux == nil && w.boundCase.pool != "testonborrow"
}

// beginBorrow makes the borrow hang: an exhausted pool; idle connections that a pool tests, and that do not answer; a Mux
// whose only connection is busy.
func (w *boundWorld) beginBorrow() {
	switch {
	case w.exhausts():
		c := w.redis.Get()
		if c.Err() != nil {
			w.t.Fatal(c.Err())
		}
		w.heal = append(w.heal, func() { c.Close() })
	case w.mux != nil:
		w.heal = append(w.heal, w.s.Pause())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c := w.mux.Get()
			defer c.Close()
			_, _ = redis.DoWithTimeout(c, 2*boundTTL, "PING")
		}()
		w.heal = append(w.heal, func() { <-done })
	default:
		w.idle(4)
		w.heal = append(w.heal, w.s.Pause())
	}
}

// idle puts connections into the pool.
func (w *boundWorld) idle(n int) {
	conns := make([]redis.Conn, n)
	for i := range conns {
		conns[i] = w.redis.Get()
		if _, err := conns[i].Do("PING"); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
}

// end makes it work again, some time after the verb has returned, and checks what is left behind.
func (w *boundWorld) end() {
	w.t.Helper()
	time.Sleep(boundTimeout)
	w.mayOnlyCleanUp("while it hangs, after the pool's own timeouts")
	w.healAll()
	if w.k != nil {
		if err := w.k.Release(bg); err != nil && !errors.Is(err, redigolock.ErrNotHeld) {
			w.t.Errorf("Release, when nothing hangs any more: %v", err)
		}
	}
	time.Sleep(boundTTL / 3) // a clean-up waits for longer and longer between its tries
	if keys := w.s.Miniredis().Keys(); len(keys) > 0 && !w.leavesKeys() {
		w.t.Errorf("long before their ttl is over, when nothing hangs any more, these keys are left: %v", keys)
	}
	time.Sleep(boundTTL)
	if keys := w.s.Miniredis().Keys(); len(keys) > 0 {
		w.t.Errorf("these keys are left: %v", keys)
	}
	if left := libraryGoroutines(); len(left) > 0 {
		w.t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	}
	most := w.redis.IdleCount()
	if w.mux != nil {
		most++
	}
	if open := w.s.Conns(); open > most {
		w.t.Errorf("%d connections are open, want %d at most", open, most)
	}
}

// leavesKeys reports whether the verb may leave a key until its ttl is over: a release that failed twice, and a Close that has
// waited for the clean-up for as long as it says.
func (w *boundWorld) leavesKeys() bool { return w.verb == "release" || w.verb == "close" }

// mayOnlyCleanUp checks that nothing of a call is left but what the Locker does in the background.
func (w *boundWorld) mayOnlyCleanUp(when string) {
	w.t.Helper()
	if w.exhausts() {
		return // a borrow that takes no context lasts until a connection is given back
	}
	for _, stack := range libraryGoroutines() {
		if strings.Contains(stack, "Bounded") || strings.Contains(stack, "TestBounds") {
			w.t.Errorf("%s, this is left of the call:\n%s", when, stack)
		}
	}
}

// libraryGoroutines are the stacks of this package's goroutines.
func libraryGoroutines() []string { return sim.Goroutines("redigolock/redigolock.") }

// ctx is the context of the call.
func (w *boundWorld) ctx() (context.Context, context.CancelFunc) {
	switch {
	case w.by == "ctx":
		return context.WithTimeout(bg, boundCtx)
	case w.boundCase.pool == "fair" && (w.verb == "acquire" || w.verb == "do"):
		return context.WithTimeout(bg, boundWait)
	}
	return context.WithCancel(bg)
}

// bound is when a call returns that ends with its context or after one OpTimeout.
func (w *boundWorld) bound() time.Duration {
	ctx, cancel := w.ctx()
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return boundOp
}

// returns checks that a call returns after exactly this time, with an error.
func (w *boundWorld) returns(want time.Duration, call func(ctx context.Context) error) {
	w.t.Helper()
	ctx, cancel := w.ctx()
	defer cancel()
	err := call(ctx)
	took := time.Since(w.started)
	if took != want {
		w.t.Errorf("it took %v, want %v (%v)", took, want, err)
	}
	switch {
	case err == nil:
		w.t.Error("it returned no error")
	case ctx.Err() != nil && (!errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, context.Cause(ctx))):
		w.t.Errorf("the context has ended, and the error is %v", err)
	case ctx.Err() == nil && !errors.Is(err, redigolock.ErrUnknown) && w.sends():
		w.t.Errorf("no reply came, and the error is %v", err)
	}
}

// sends reports whether the command is sent, and its reply lost. A pool that tests what it lends hangs before that.
func (w *boundWorld) sends() bool {
	return (w.hang == "reply" || w.hang == "middle") && w.boundCase.pool != "testonborrow"
}

// acquires is an acquire verb: nothing is held before.
func acquires(call func(w *boundWorld, ctx context.Context) error) func(*boundWorld) {
	return func(w *boundWorld) {
		w.begin()
		w.returns(w.bound(), func(ctx context.Context) error { return call(w, ctx) })
		w.end()
	}
}

// holds is a verb of a lock, or on one.
func holds(call func(w *boundWorld, ctx context.Context) error) func(*boundWorld) {
	return func(w *boundWorld) {
		w.hold()
		w.begin()
		w.returns(w.bound(), func(ctx context.Context) error { return call(w, ctx) })
		w.end()
	}
}

// runs is the fn of a Do that should acquire nothing.
func (w *boundWorld) runs(_ context.Context, k *redigolock.Lock) error {
	w.k = k
	return errors.New("fn ran")
}

var boundVerbs = []struct {
	name string
	run  func(w *boundWorld)
}{
	{"tryacquire", acquires(func(w *boundWorld, ctx context.Context) error {
		_, err := w.locker.TryAcquire(ctx, boundKey, boundTTL)
		return err
	})},
	{"acquire", acquires(func(w *boundWorld, ctx context.Context) error {
		k, err := w.locker.Acquire(ctx, boundKey, boundTTL)
		w.k = k
		return err
	})},
	{"do", acquires(func(w *boundWorld, ctx context.Context) error {
		return w.locker.Do(ctx, boundKey, boundTTL, w.runs)
	})},
	{"trydo", acquires(func(w *boundWorld, ctx context.Context) error {
		return w.locker.TryDo(ctx, boundKey, boundTTL, w.runs)
	})},
	{"attach", holds(func(w *boundWorld, ctx context.Context) error {
		_, err := w.locker.Attach(ctx, boundKey, w.k.Token(), boundTTL)
		return err
	})},
	{"verify", holds(func(w *boundWorld, ctx context.Context) error { return w.k.Verify(ctx) })},
	{"extend", holds(func(w *boundWorld, ctx context.Context) error { return w.k.Extend(ctx, boundTTL) })},
	{"fence", holds(func(w *boundWorld, ctx context.Context) error {
		_, err := w.k.Fence(ctx)
		return err
	})},
	{"release", boundRelease},
	{"keepalive", boundKeepAlive},
	{"close", boundClose},
}

// boundRelease takes at most two tries, each of at most OpTimeout, whatever the context does. The second is on a connection
// that is dialled, and so goes well although the pool is exhausted.
func boundRelease(w *boundWorld) {
	w.hold()
	w.begin()
	ctx, cancel := w.ctx()
	defer cancel()
	want, works := 2*w.op(), false
	if w.exhausts() && w.canDial() {
		want, works = w.op(), true
	}
	err := w.k.Release(ctx)
	if took := time.Since(w.started); took != want {
		w.t.Errorf("it took %v, want %v (%v)", took, want, err)
	}
	if (err == nil) != works {
		w.t.Errorf("the error is %v", err)
	}
	w.end()
}

// canDial reports whether the Locker can dial a connection although the pool is exhausted.
func (w *boundWorld) canDial() bool {
	return w.boundCase.pool != "wrapped" && w.boundCase.pool != "getonly"
}

// boundKeepAlive is about the signal of the loss: it comes min(25 ms, ttl/20) before Deadline.
func boundKeepAlive(w *boundWorld) {
	k := w.hold()
	w.begin()
	ctx, cancel := w.ctx()
	defer cancel()
	kept := k.KeepAlive(ctx)
	if w.by == "ctx" {
		<-kept.Done()
		if took := time.Since(w.started); took != boundCtx {
			w.t.Errorf("it ended after %v, want %v", took, boundCtx)
		}
		if cause := context.Cause(kept); cause != context.DeadlineExceeded {
			w.t.Errorf("the cause is %v", cause)
		}
		w.end()
		return
	}
	if w.exhausts() && w.canDial() { // its connection is its own
		time.Sleep(3 * boundTTL)
		if kept.Err() != nil {
			w.t.Errorf("lost: %v", context.Cause(kept))
		}
		w.end()
		return
	}
	<-kept.Done()
	if took, want := time.Since(w.started), validFor(boundTTL)-25*time.Millisecond; took != want {
		w.t.Errorf("the signal came after %v, want %v", took, want)
	}
	if cause := context.Cause(kept); !errors.Is(cause, redigolock.ErrLost) {
		w.t.Errorf("the cause is %v", cause)
	}
	w.end()
}

// boundClose waits for a renewal that hangs, and for the clean-up of an acquire whose reply did not come.
func boundClose(w *boundWorld) {
	k := w.hold()
	kept := k.KeepAlive(bg)
	w.begin()
	if _, err := w.locker.TryAcquire(bg, "lost", boundTTL); err == nil {
		w.t.Error("an acquire that hangs was won")
	}
	time.Sleep(boundTTL/2 + boundTTL/64) // a renewal is due
	start := time.Now()
	if err := w.locker.Close(); err != nil {
		w.t.Error(err)
	}
	if took, most := time.Since(start), 6*w.op(); took > most {
		w.t.Errorf("it took %v, want %v at most", took, most)
	}
	if kept.Err() == nil {
		w.t.Error("the context of KeepAlive has not ended")
	}
	w.end()
}

// What a Deadline counts from where several commands, slow replies or connections of their own are in play. Each test is for a
// fault that one changed line would bring in.

// endsInTime checks that the lock's validity ends no later than its key.
func endsInTime(t *testing.T, s *sim.Server, k *redigolock.Lock) {
	t.Helper()
	_, left := inKey(t, s, k.Key())
	if over := k.Deadline().Sub(time.Now().Add(left)); over > 0 {
		t.Errorf("Deadline is %v after the key's end", over)
	}
}

// The first Extend's reply is lost, the second's comes late.
func TestExtendThatAsksAgainCountsFromBeforeItsSend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: 2 * time.Second})
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Second))
		s.Next("extend", sim.Cut(), sim.Slow(500*time.Millisecond))
		sent := time.Now()
		if err := k.Extend(bg, time.Minute); err != nil {
			t.Fatal(err)
		}
		if want := sent.Add(validFor(time.Minute)); !k.Deadline().Equal(want) {
			t.Errorf("Deadline is %v after what counts from the second send", k.Deadline().Sub(want))
		}
		endsInTime(t, s, k)
	})
}

// The second try of an Acquire loses its reply, too, and asks again: what it finds then may be of the first try.
func TestTokenFoundByTheSecondTryThatWasLostCountsFromAnExtend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: redigolock.Every(time.Second)})
		learns(t, l)
		before := s.Count("set")
		s.Next("set", sim.Drop(), sim.Drop(), sim.Drop())
		k := mustGet(t)(l.Acquire(bg, "key", 10*time.Second))
		if n := s.Count("set") - before; n != 4 {
			t.Fatalf("%d SETs: this test proves nothing", n)
		}
		endsInTime(t, s, k)
	})
}

// A renewal over a connection that is bound, whose reply comes late.
func TestRenewalOverABoundConnectionCountsFromBeforeItsSend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: nodePool{map[string]*sim.Link{"key": s.Link}}})
		k := mustGet(t)(l.TryAcquire(bg, "key", 4*time.Second))
		k.KeepAlive(bg)
		s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == "extend" {
				return sim.Slow(300 * time.Millisecond)
			}
			return sim.Pass()
		})
		time.Sleep(3 * time.Second)
		if s.Count("extend") == 0 {
			t.Fatal("no renewal: this test proves nothing")
		}
		endsInTime(t, s, k)
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// Eight renewals over bound connections hang, and the ninth lock is released while it waits for its place.
func TestNoRenewalIsSentForALockThatWasReleasedWhileItWaitedForItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		bad := sim.NewServer(t)
		l := simLocker(t, &redigolock.Locker{
			Pool:      nodePool{map[string]*sim.Link{"good": s.Link, "bad": bad.Link}},
			OpTimeout: 400 * time.Millisecond,
		})
		const ttl = 10 * time.Second
		for i := range 8 {
			mustGet(t)(l.TryAcquire(bg, fmt.Sprint("bad ", i), ttl)).KeepAlive(bg)
		}
		time.Sleep(10 * time.Millisecond) // the ninth is due last
		k := mustGet(t)(l.TryAcquire(bg, "good", ttl))
		k.KeepAlive(bg)
		goOn := bad.Pause()
		time.Sleep(ttl/2 + ttl/100 - 10*time.Millisecond) // the renewals are under way
		if n := s.Count("extend"); n != 0 {
			t.Fatalf("%d renewals of the ninth lock: this test proves nothing", n)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		time.Sleep(ttl)
		goOn()
		if n := s.Count("extend"); n != 0 {
			t.Errorf("%d renewals of a lock that was released", n)
		}
	})
}

// No more is worth waiting for than the ttl: what is answered later is no lock.
func TestAcquireWaitsForAReplyNoLongerThanItsTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{
			Pool: simPool(t, s, "redis"), OpTimeout: 30 * time.Second, Retry: redigolock.Tries(2, redigolock.Every(100*time.Millisecond)),
		})
		learns(t, l)
		s.Next("set", sim.Swallow(), sim.Swallow())
		inTime(t, "TryAcquire", 2*time.Second, func() { // it asks twice
			_, err := l.TryAcquire(bg, "key", time.Second)
			wants(t, err, redigolock.ErrUnknown)
		})
		s.Next("set", sim.Drop(), sim.Drop())
		s.Next("extend", sim.Swallow())
		start := time.Now()
		_, err := l.Acquire(bg, "another", time.Second)
		wants(t, err, redigolock.ErrUnknown)
		if took := time.Since(start); took > 2200*time.Millisecond {
			t.Errorf("Acquire took %v", took)
		}
	})
}

// Four dials hang for longer than anybody waits. What lies idle in the pool, or comes back to it, is lent all the same.
func TestDialsThatHangKeepNobodyFromWhatIsIdle(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		for _, tests := range []bool{false, true} {
			t.Run(fmt.Sprint("wrapped ", wrapped, ", tests ", tests), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					until := make(chan struct{})
					g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
						if n <= 3 {
							return nil
						}
						return until
					}}
					pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8}
					if tests {
						pool.TestOnBorrow = func(c redis.Conn, _ time.Time) error {
							_, err := c.Do("PING")
							return err
						}
					}
					defer pool.Close()
					defer close(until)
					l := simLocker(t, &redigolock.Locker{Pool: pool})
					if wrapped {
						l.Pool = struct{ *redis.Pool }{pool}
					}
					k, err := l.TryAcquire(bg, "kept", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					busy := []redis.Conn{pool.Get(), pool.Get(), pool.Get()}
					var wg sync.WaitGroup
					for range 4 {
						wg.Go(func() {
							inTime(t, "a dial that hangs", time.Second, func() {
								if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
									t.Error("acquired without a connection")
								}
							})
						})
					}
					wg.Wait()
					time.AfterFunc(500*time.Millisecond, func() { busy[0].Close() })
					inTime(t, "Verify until a connection comes back", time.Second, func() {
						err = k.Verify(bg) // it is given back to the pool past the Locker
					})
					if err == nil {
						t.Error("it has seen a connection that came back past the Locker")
					}
					busy[1].Close()
					var all sync.WaitGroup
					for i := range 20 {
						all.Go(func() {
							inTime(t, "acquire and release with what is idle", 0, func() {
								k, err := l.TryAcquire(bg, fmt.Sprint("key ", i), time.Minute)
								if err != nil {
									t.Error(err)
									return
								}
								if err := k.Release(bg); err != nil {
									t.Error(err)
								}
							})
						})
					}
					all.Wait()
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
					if _, now, most := g.counts(); now != 4 || most != 4 {
						t.Errorf("%d dials hang, %d at once; want 4", now, most)
					}
					busy[2].Close()
				})
			})
		}
	}
}

// Dials that never return: no timeout ends them. When the server is well again, the Locker is, too, a minute later for each
// dial that has hung since the first four.
func TestDialsThatNeverReturnDoNotEndALocker(t *testing.T) {
	for hung, most := range map[int]time.Duration{4: 62 * time.Second, 6: 3*time.Minute + 4*time.Second} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			never := make(chan struct{})
			g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
				if n > hung {
					return nil
				}
				return never
			}}
			pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8}
			defer pool.Close()
			l := simLocker(t, &redigolock.Locker{Pool: pool})
			ctx, cancel := context.WithTimeout(bg, time.Hour)
			defer cancel()
			begin := time.Now()
			k, err := l.Acquire(ctx, "key", time.Minute)
			if took := time.Since(begin); err != nil || took > most {
				t.Fatalf("after %v: %v", took, err)
			}
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
			for i := range 10 { // all is as before
				inTime(t, "TryAcquire", 0, func() {
					if _, err := l.TryAcquire(bg, fmt.Sprint(i), time.Minute); err != nil {
						t.Error(err)
					}
				})
			}
			close(never)
		})
	}
}

// The renewer's own dials are others than those of the pool, and none of them returns for a while.
func TestDialsThatNeverReturnCostNoLongLock(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		never := make(chan struct{})
		g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
			if n > 4 {
				return nil
			}
			return never
		}}
		pool := simPool(t, s, "redis")
		l := simLocker(t, &redigolock.Locker{Pool: dialPool{pool.Get, g.dial}})
		renewsFor(t, l, "key", 4*time.Minute, time.Hour)
		close(never)
	})
}

// Those that begin together are as many as their callers. None begins after that.
func TestNoDialBeginsWhileFourOrMoreAreLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		until := make(chan struct{})
		g := &dialGate{link: s.Link, hang: func(int) <-chan struct{} { return until }}
		pool := &redis.Pool{DialContext: g.dial, MaxIdle: 40}
		defer pool.Close()
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		for range 10 {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					inTime(t, "TryAcquire", time.Second, func() {
						if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
							t.Error("acquired without a connection")
						}
					})
				})
			}
			wg.Wait()
			if _, now, _ := g.counts(); now != 20 {
				t.Errorf("%d dials hang, want those of the first 20 callers", now)
			}
		}
		close(until)
	})
}

// What is idle may hang, too: then one errand more goes on than those that are left already.
func TestIdleConnectionsThatHangAreTestedOneMoreAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		until := make(chan struct{})
		var tests atomic.Int64
		g := &dialGate{link: s.Link, hang: func(n int) <-chan struct{} {
			if n <= 8 {
				return nil
			}
			return until
		}}
		pool := &redis.Pool{DialContext: g.dial, MaxIdle: 8, TestOnBorrow: func(redis.Conn, time.Time) error {
			tests.Add(1)
			<-until
			return nil
		}}
		defer pool.Close()
		var busy []redis.Conn
		for range 8 {
			busy = append(busy, pool.Get())
		}
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		try := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					inTime(t, "TryAcquire", time.Second, func() {
						if _, err := l.TryAcquire(bg, "key", time.Minute); err == nil {
							t.Error("acquired without a connection")
						}
					})
				})
			}
			wg.Wait()
		}
		try(4)
		for _, c := range busy {
			c.Close()
		}
		for range 5 {
			try(20)
		}
		if n := tests.Load(); n != 1 {
			t.Errorf("%d tests hang, want 1", n)
		}
		close(until)
	})
}
