package redigolock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/testbed"
)

// acquireMany acquires n locks, with a few at a time.
func (r *rig) acquireMany(n int, ttl time.Duration) []*redigolock.Lock {
	r.T.Helper()
	locks := make([]*redigolock.Lock, n)
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	const workers = 16
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				k, err := r.Locker.TryAcquire(bg, fmt.Sprint("key", i), ttl)
				if err != nil {
					failed.Store(&err)
					return
				}
				locks[i] = k
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		r.T.Fatal(*err)
	}
	return locks
}

// releaseAll releases with a few at a time, and returns the first error.
func releaseAll(locks []*redigolock.Lock) (first error) {
	var mu sync.Mutex // protects first
	var wg sync.WaitGroup
	const workers = 16
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(locks); i += workers {
				if err := locks[i].Release(bg); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}

func TestManyLocksAreRenewedInBatchesOnOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const n, ttl = 60 * redigolock.GroupMost, 10 * time.Second
		var dialer countingDialer
		r.Locker.Pool = dialer.pool(r.Proxy.Dial)
		warm := r.acquireMany(n, ttl) // the pool's connections exist by now
		dials, goroutines := dialer.dials.Load(), runtime.NumGoroutine()
		kept := make([]context.Context, n)
		first := deadlines(warm)
		for i, k := range warm {
			kept[i] = k.KeepAlive(bg)
		}
		r.renewedSince(warm, first)
		if more := runtime.NumGoroutine() - goroutines; more > 3 {
			t.Errorf("%d goroutines more than without KeepAlive", more)
		}
		if sent := len(r.Sent("extend")); sent > n/redigolock.GroupMost+5 {
			t.Errorf("%d requests for %d renewals", sent, n)
		}
		if d := dialer.dials.Load() - dials; d != 1 {
			t.Errorf("%d dials", d)
		}
		time.Sleep(2 * ttl)
		for i, ctx := range kept {
			if ctx.Err() != nil || time.Now().After(warm[i].Deadline()) {
				t.Fatalf("%s: %v", warm[i].Key(), context.Cause(ctx))
			}
		}
		r.OK(releaseAll(warm))
		eventually(t, "the goroutines are gone", func() bool { return !running("renewal.(*line).run") && !running("judgeLosses") })
		r.Locker.Pool.(interface{ Close() error }).Close()
		eventually(t, "the connections are gone", func() bool { return r.Proxy.Conns() == 0 })
	})
}

// A lagMeter tells how late the machine woke a goroutine at worst.
type lagMeter struct {
	worst time.Duration
	stop  chan struct{}
	done  chan struct{}
}

func measureLag() *lagMeter {
	m := &lagMeter{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			asked := time.Now().Add(time.Millisecond)
			select {
			case <-time.After(time.Millisecond):
				m.worst = max(m.worst, time.Since(asked))
			case <-m.stop:
				return
			}
		}
	}()
	return m
}

func (m *lagMeter) end() time.Duration {
	close(m.stop)
	<-m.done
	return m.worst
}

func TestStoppedServerEndsAllContextsInOrderAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		n, ttl := 1000, 4*time.Second
		if testbed.Long() {
			n, ttl = 100_000, time.Minute
		}
		type loss struct {
			key   string
			early time.Duration
		}
		var mu sync.Mutex // protects losses, and deadline, in that the renewer reads it
		var losses []loss
		deadline := map[string]time.Time{}
		r.Locker.Observer = &redigolock.Observer{Lost: func(_ context.Context, k *redigolock.Lock, cause error) {
			key := k.Key()
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			losses = append(losses, loss{key, deadline[key].Sub(now)})
		}}
		locks := r.acquireMany(n, ttl)
		mu.Lock()
		for _, k := range locks {
			deadline[k.Key()] = k.Deadline()
		}
		mu.Unlock()
		r.Server.Pause()
		lag := measureLag()
		var kept []context.Context
		for _, k := range locks {
			kept = append(kept, k.KeepAlive(bg))
		}
		tooLate := time.After(2 * ttl)
		for i, ctx := range kept {
			select {
			case <-ctx.Done():
			case <-tooLate:
				t.Fatalf("lock %d of %d is not lost after two ttls", i, n)
			}
			wants(t, context.Cause(ctx), redigolock.ErrLost)
		}
		noise := lag.end()
		eventually(t, "all are told", func() bool { mu.Lock(); defer mu.Unlock(); return len(losses) == n })
		margins := make([]time.Duration, n)
		latest := time.Time{}
		for i, x := range losses {
			margins[i] = x.early
			if d := deadline[x.key]; d.Before(latest.Add(-2 * time.Millisecond)) {
				t.Fatalf("%s was lost after one whose Deadline is %v later", x.key, latest.Sub(d))
			} else if d.After(latest) {
				latest = d
			}
		}
		slices.Sort(margins)
		t.Logf("before Deadline: min %v, 1%% %v, median %v, max %v; the machine was %v late at worst",
			margins[0], margins[n/100], margins[n/2], margins[n-1], noise)
		if margins[0] < -3*noise { // whoever tells of many losses may be kept from it more than once
			t.Errorf("a context ended %v after Deadline", -margins[0])
		}
		if margins[n-1] > ttl/4 {
			t.Errorf("a context ended %v before Deadline", margins[n-1])
		}
		for _, k := range locks {
			if d := k.Deadline(); !d.Equal(deadline[k.Key()]) {
				t.Fatalf("%s was renewed by a server that stands still", k.Key())
			}
		}
		r.Server.Resume()
		for _, k := range locks[:100] {
			r.Do("SET", k.Key(), "another's", "PX", 30000)
		}
		index := len(r.Proxy.Requests())
		start := time.Now()
		eventually(t, "a while passes", func() bool { return time.Since(start) > 500*time.Millisecond })
		if sent := r.Proxy.Requests()[index:]; len(sent) > 0 {
			t.Errorf("after the server went on: %v", sent[0])
		}
		for _, k := range locks[:100] {
			if r.Get(k.Key()) != "another's" || r.PTTL(k.Key()) > 30*time.Second {
				t.Fatalf("%s was touched", k.Key())
			}
		}
	})
}

func TestKeepAliveAgainAndAgainDialsAndLeaksNothing(t *testing.T) {
	r := newRig(t)
	var dialer countingDialer
	r.Locker.Pool = dialer.pool(r.Server.Dial)
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Hour))
	goroutines := runtime.NumGoroutine()
	for range 10_000 {
		ctx, cancel := context.WithCancel(bg)
		kept := k.KeepAlive(ctx)
		cancel()
		<-kept.Done()
	}
	eventually(t, "it is kept no longer", func() bool { return !redigolock.Kept(k) })
	for i := range 2_000 {
		x := r.Must(r.Locker.TryAcquire(bg, fmt.Sprint(i), time.Hour))
		kept := x.KeepAlive(bg)
		r.OK(x.Release(bg))
		if context.Cause(kept) != context.Canceled || context.Cause(x.KeepAlive(bg)) != context.Canceled {
			t.Fatal("kept alive after Release")
		}
	}
	if d := dialer.dials.Load(); d != 1 {
		t.Errorf("%d dials; nothing was due", d)
	}
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	r.OK(k.Release(bg))
}

func TestCloseEndsManyKeptLocks(t *testing.T) {
	r := newRig(t)
	locks := r.acquireMany(1000, time.Minute)
	var kept []context.Context
	for i, k := range locks {
		kept = append(kept, k.KeepAlive(bg))
		if i%2 == 0 {
			kept = append(kept, k.KeepAlive(bg))
		}
	}
	r.OK(r.Locker.Close())
	for _, ctx := range kept {
		receive(t, "each context ends", ctx.Done())
		wants(t, context.Cause(ctx), redigolock.ErrClosed)
	}
	eventually(t, "the goroutines are gone", func() bool { return !running("renewal.(*line).run") && !running("judgeLosses") })
	wants(t, context.Cause(locks[0].KeepAlive(bg)), redigolock.ErrClosed)
	r.OK(releaseAll(locks))
}

// A wire records what is written to all connections of its pool, in the order of the writes. The proxy's own record will not
// do here: it may read what was sent before its CutAll long after the client has gone on.
type wire struct {
	mu     sync.Mutex // protects what follows, and the wiredConns' fields
	writes int
	conns  []*wiredConn
}

type wiredConn struct {
	net.Conn
	w     *wire
	text  []byte
	ends  []int // of each write in text
	order []int // of each write among all
}

func (c *wiredConn) Write(b []byte) (int, error) {
	c.w.mu.Lock()
	c.text = append(c.text, b...)
	c.ends, c.order = append(c.ends, len(c.text)), append(c.order, c.w.writes)
	c.w.writes++
	c.w.mu.Unlock()
	return c.Conn.Write(b)
}

// now is how many writes have been made.
func (w *wire) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

func (w *wire) pool(addr string) *redis.Pool {
	dial := func(network, addr string) (net.Conn, error) {
		nc, err := net.DialTimeout(network, addr, 5*time.Second)
		if err != nil {
			return nil, err
		}
		c := &wiredConn{Conn: nc, w: w}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns = append(w.conns, c)
		return c, nil
	}
	return &redis.Pool{MaxIdle: 256, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", addr, redis.DialNetDial(dial), redis.DialReadTimeout(5*time.Second))
	}}
}

var scriptOnWire = regexp.MustCompile("EVALSHA\r\n\\$40\r\n([0-9a-f]{40})\r\n\\$[0-9]+\r\n([0-9]+)\r\n")

// lastExtends returns the number of the last write that extended, by token.
func (w *wire) lastExtends() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := map[string]int{}
	for _, c := range w.conns {
		for _, m := range scriptOnWire.FindAllSubmatchIndex(c.text, -1) {
			if testbed.ScriptNames[any(string(c.text[m[2]:m[3]]))] != "extend" {
				continue
			}
			locks, _ := strconv.Atoi(string(c.text[m[4]:m[5]]))
			at := m[1]
			for i := range 3 * locks { // the keys, then a token and a ttl for each
				from, to := bulk(c.text, at)
				if to < 0 {
					break // cut off
				}
				if i >= locks && (i-locks)%2 == 0 {
					token := string(c.text[from:to])
					write, _ := slices.BinarySearch(c.ends, to) // the write that holds the token's end
					last[token] = max(last[token], c.order[write])
				}
				at = to + len("\r\n")
			}
		}
	}
	return last
}

// bulk is where the text of the bulk string is that begins at at; to is negative if it is not whole.
func bulk(text []byte, at int) (from, to int) {
	head := bytes.Index(text[min(at, len(text)):], []byte("\r\n"))
	if head < 1 {
		return 0, -1
	}
	n, err := strconv.Atoi(string(text[at+len("$") : at+head]))
	from = at + head + len("\r\n")
	if to = from + n; err != nil || to > len(text) {
		return 0, -1
	}
	return from, to
}

// chaos is what the goroutines of the test below share.
type chaos struct {
	*rig
	wire     wire
	mu       sync.Mutex // protects released and errs
	released []releasedToken
	errs     []error
	extended atomic.Int64
}

// A releasedToken was released when so many writes had been made.
type releasedToken struct {
	token string
	index int
}

func (c *chaos) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// live is the life of one lock.
func (c *chaos) live(key string) {
	ctx, cancel := context.WithTimeout(bg, 2*time.Second)
	defer cancel()
	k, err := c.Locker.Acquire(ctx, key, time.Duration(300+rand.IntN(700))*time.Millisecond)
	if err != nil {
		if errors.Is(err, redigolock.ErrInvalid) {
			c.fault("acquire: %w", err)
		}
		return
	}
	parent, cancelParent := context.WithCancel(bg)
	defer cancelParent()
	kept := k.KeepAlive(parent)
	for range rand.IntN(5) {
		switch rand.IntN(5) {
		case 0:
			_ = k.Extend(ctx, time.Duration(300+rand.IntN(1000))*time.Millisecond)
		case 1:
			cancelParent()
			kept = k.KeepAlive(bg)
		case 2:
			_ = k.Verify(ctx)
		default:
			hold := time.NewTimer(rand.N(400 * time.Millisecond))
			select {
			case <-kept.Done():
			case <-hold.C:
			}
			hold.Stop()
		}
		if d := k.Deadline(); time.Now().After(d) && !c.noticed(kept, k, d) {
			c.fault("%s is forgotten: its context lives %v after Deadline", key, time.Since(d))
		}
	}
	if err := k.Release(bg); err != nil && errors.Is(err, redigolock.ErrInvalid) {
		c.fault("release: %w", err)
	}
	if kept.Err() == nil {
		c.fault("%s: the context outlives Release", key)
	}
	x := releasedToken{k.Token(), c.wire.now()}
	c.mu.Lock()
	c.released = append(c.released, x)
	c.mu.Unlock()
}

// noticed waits until the context of a lock has ended, whose Deadline d was passed, or a renewal that came just before has moved it.
func (c *chaos) noticed(kept context.Context, k *redigolock.Lock, d time.Time) bool {
	for end := time.Now().Add(10 * time.Second); kept.Err() == nil && k.Deadline().Equal(d); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func TestChaosNoRenewalAfterReleaseNoneForgottenNothingLeaked(t *testing.T) {
	n, d := 200, 3*time.Second
	if testbed.Long() {
		n, d = 1000, time.Minute
	}
	c := &chaos{rig: newRig(t)}
	pool := c.wire.pool(c.TCP().Addr())
	defer pool.Close()
	pool.MaxActive, pool.MaxIdle, pool.Wait = 64, 64, true // else each cut makes a dial for each goroutine, and little else is done
	c.Locker.Pool, c.Locker.OpTimeout = pool, 500*time.Millisecond
	c.Locker.Observer = &redigolock.Observer{Extended: func(context.Context, *redigolock.Lock, time.Duration) { c.extended.Add(1) }}
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for time.Now().Before(end) {
				c.live(fmt.Sprint("key", i%(n*3/4)))
			}
		})
	}
	cutter := time.NewTicker(100 * time.Millisecond)
	defer cutter.Stop()
	for time.Now().Before(end) {
		<-cutter.C
		if rand.IntN(3) == 0 {
			c.Proxy.CutAll()
		}
	}
	wg.Wait()
	for _, err := range c.errs {
		t.Error(err)
	}
	last := c.wire.lastExtends()
	for _, x := range c.released {
		if i, ok := last[x.token]; ok && i >= x.index {
			t.Errorf("a renewal was written as write %d, its Release had returned at %d", i, x.index)
		}
	}
	t.Logf("%d locks, %d tokens extended, %d extensions", len(c.released), len(last), c.extended.Load())
	if len(last) == 0 {
		t.Error("no write was understood")
	}
	if len(c.released) < n/10 || c.extended.Load() == 0 {
		t.Error("the test did not do what it is for")
	}
	c.OK(c.Locker.Close())
	eventually(t, "the goroutines are gone", func() bool { return !running("renewal.(*line).run") && !running("judgeLosses") })
}
