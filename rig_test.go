package redigolock_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A rig is a Locker on a pool that leads through a fault-injecting proxy to a real server. The server knows all scripts,
// so that each verb is one request.
type rig struct {
	t      *testing.T
	server rigServer
	proxy  rigProxy
	locker *redigolock.Locker
}

// A rigServer is a *redistest.Server, or a simServer.
type rigServer interface {
	Do(cmd string, args ...any) (any, error)
	Pool() *redis.Pool
	Dial(opts ...redis.DialOption) (redis.Conn, error)
	Pause()
	Resume()
	Kill()
	Restart() error
	Calls() (map[string]int64, error)
}

// A rigProxy is a *redistest.Proxy, or a simProxy.
type rigProxy interface {
	Pool() *redis.Pool
	Dial(opts ...redis.DialOption) (redis.Conn, error)
	Rule(f func(redistest.Request) redistest.Action)
	Requests() []redistest.Request
	Conns() int
	Refuse(refuse bool)
	CutAll()
}

// real is the server of a rig that has a real one.
func (r *rig) real() *redistest.Server { return r.server.(*redistest.Server) }

// tcp is the proxy of a rig that has a real one.
func (r *rig) tcp() *redistest.Proxy { return r.proxy.(*redistest.Proxy) }

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOn(t, redistest.Start(t))
}

func newRigOn(t *testing.T, server *redistest.Server) *rig {
	t.Helper()
	proxy := redistest.NewProxy(t, server.Addr())
	r := &rig{t: t, server: server, proxy: proxy, locker: &redigolock.Locker{Pool: proxy.Pool()}}
	t.Cleanup(func() { r.locker.Close() })
	r.warm()
	return r
}

// warm lets the server know all scripts.
func (r *rig) warm() {
	r.t.Helper()
	warm := &redigolock.Locker{Pool: r.server.Pool(), AcquireWith: redigolock.SetNXScript}
	k := r.must(warm.TryAcquire(bg, "warm", time.Minute))
	r.ok(k.Verify(bg))
	r.ok(k.Extend(bg, time.Minute))
	_, err := k.Fence(bg)
	r.ok(err)
	c := r.server.Pool().Get()
	_, err = redigolock.Inspect(bg, c, "warm")
	r.ok(err)
	c.Close()
	r.ok(k.Release(bg))
	r.do("FLUSHDB")
}

var bg = context.Background()

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// must is for the results of an acquire.
func (r *rig) must(k *redigolock.Lock, err error) *redigolock.Lock {
	r.t.Helper()
	r.ok(err)
	return k
}

// do asks the server, past the proxy.
func (r *rig) do(cmd string, args ...any) any {
	r.t.Helper()
	reply, err := r.server.Do(cmd, args...)
	r.ok(err)
	return reply
}

// get is the token in the key, "" if there is none.
func (r *rig) get(key string) string {
	r.t.Helper()
	token, err := redis.String(r.server.Do("GET", key))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		r.t.Fatal(err)
	}
	return token
}

func (r *rig) pttl(key string) time.Duration {
	r.t.Helper()
	return time.Duration(r.do("PTTL", key).(int64)) * time.Millisecond
}

// verbOf names a request: the script's name, else the command.
func verbOf(q redistest.Request) string {
	if q.Name == "EVALSHA" {
		return redigolock.ScriptNames[any(q.Args[0])]
	}
	return strings.ToLower(q.Name)
}

// sent returns the requests of a verb that came to the proxy.
func (r *rig) sent(verb string) []redistest.Request {
	var found []redistest.Request
	for _, q := range r.proxy.Requests() {
		if verbOf(q) == verb {
			found = append(found, q)
		}
	}
	return found
}

// rule has f decide about each request; n counts the requests of its verb since now, from 1.
func (r *rig) rule(f func(verb string, n int) redistest.Action) {
	seen := map[string]int{}
	r.proxy.Rule(func(q redistest.Request) redistest.Action {
		verb := verbOf(q)
		seen[verb]++
		return f(verb, seen[verb])
	})
}

// plan lists what happens to the first requests of each verb from now on; the later ones pass.
func (r *rig) plan(actions map[string][]redistest.Action) {
	r.rule(func(verb string, n int) redistest.Action {
		if list := actions[verb]; n <= len(list) {
			return list[n-1]
		}
		return redistest.Pass()
	})
}

// silent checks that f sends nothing.
func (r *rig) silent(what string, f func()) {
	r.t.Helper()
	before := len(r.proxy.Requests())
	f()
	if sent := r.proxy.Requests()[before:]; len(sent) > 0 {
		r.t.Errorf("%s sent %v", what, sent)
	}
}

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex // protects t
	t  time.Time
}

// stopClock gives the Locker a clock that stands still.
func stopClock(l *redigolock.Locker) *clock {
	c := &clock{t: time.Now()}
	redigolock.SetClock(l, c.now)
	return c
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// addMonotonic moves only the monotonic part. The time package has no way to do it: it is done on the representation of
// time.Time, whose second word is the monotonic reading, and checked.
func (c *clock) addMonotonic(t *testing.T, d time.Duration) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.t
	(*struct {
		_   uint64
		ext int64
	})(unsafe.Pointer(&c.t)).ext += int64(d)
	if c.t.Sub(before) != d || !c.t.Round(0).Equal(before.Round(0)) {
		t.Fatal("time.Time is made otherwise by now: this test must be too")
	}
}

// addWall moves only the wall clock's part.
func (c *clock) addWall(t *testing.T, d time.Duration) {
	t.Helper()
	c.add(d)
	c.addMonotonic(t, -d)
}

// shortOp is an OpTimeout for tests that run into it: short enough to wait for, and long enough that on a busy machine
// what is to be answered is answered in time.
const shortOp = 600 * time.Millisecond

// validFor is what a ttl is good for, by the contract's formula.
func validFor(ttl time.Duration) time.Duration { return ttl - ttl/100 - 2*time.Millisecond }

// wants checks that errors.Is finds each of targets in err.
func wants(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("the error is %v, want one that is %v", err, target)
		}
	}
}

// wantsNot checks that errors.Is finds none of targets in err.
func wantsNot(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if errors.Is(err, target) {
			t.Errorf("the error is %v, want one that is not %v", err, target)
		}
	}
}

// receive waits for ch, for ten seconds at most.
func receive[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10 s: %s", what)
	}
	return v
}

// untilSent calls f, whose time is short and which is to lose a reply, again while its time was over before it had sent
// anything, as can be on a busy machine. sent is how many requests have come.
func untilSent(sent func() int, f func() error) (err error) {
	for range 20 {
		before := sent()
		if err = f(); errors.Is(err, redigolock.ErrUnknown) || sent() > before {
			break
		}
	}
	return err
}

// inBackground runs f on a goroutine, and returns its result through a channel.
func inBackground[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// running reports whether a goroutine has this in its stack.
func running(name string) bool {
	stacks := make([]byte, 1<<20)
	n := runtime.Stack(stacks, true)
	for n == len(stacks) {
		stacks = make([]byte, 2*len(stacks))
		n = runtime.Stack(stacks, true)
	}
	return strings.Contains(string(stacks[:n]), name)
}

// noCleanUp waits until the clean-up in the background has ended.
func (r *rig) noCleanUp() {
	r.t.Helper()
	eventually(r.t, "the clean-up ends", func() bool { return !redigolock.CleaningUp(r.locker) })
}

// plainSetNX is an AcquireFunc of a user's own that knows nothing of this package but HeldError.
func plainSetNX(_ context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	_, err := redis.String(c.Do("SET", key, token, "NX", "PX", ttl.Milliseconds()))
	if errors.Is(err, redis.ErrNil) {
		return &redigolock.HeldError{Key: key}
	}
	return err
}

// plainRelease is a ReleaseFunc of a user's own.
func plainRelease(_ context.Context, c redis.Conn, key, token string) error {
	const lua = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
	n, err := redis.Int(c.Do("EVAL", lua, 1, key, token))
	if err == nil && n == 0 {
		return redigolock.ErrNotHeld
	}
	return err
}

// acquireWays are the ways to acquire, with the verb that each sends.
var acquireWays = []struct {
	name string
	with redigolock.AcquireFunc
	verb string
}{
	{"default", nil, "set"},
	{"SetNX", redigolock.SetNX, "set"},
	{"SetNXVerified", redigolock.SetNXVerified, "set"},
	{"SetNXScript", redigolock.SetNXScript, "setnx"},
	{"own", plainSetNX, "set"},
}

// newRigOnMini is a rig without faults, on a server that starts fast.
func newRigOnMini(t *testing.T) *rig {
	return &rig{t: t, locker: &redigolock.Locker{Pool: redistest.StartMini(t).Pool()}}
}

// afterSetNX is an AcquireFunc that calls f when SetNX has returned.
func afterSetNX(f func()) redigolock.AcquireFunc {
	return func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
		err := redigolock.SetNX(ctx, c, key, token, ttl)
		f()
		return err
	}
}

// lockUses are what a holder does with its lock.
func lockUses() map[string]func(context.Context, *redigolock.Lock) error {
	return map[string]func(context.Context, *redigolock.Lock) error{
		"verify": func(ctx context.Context, k *redigolock.Lock) error { return k.Verify(ctx) },
		"extend": func(ctx context.Context, k *redigolock.Lock) error { return k.Extend(ctx, time.Hour) },
		"fence": func(ctx context.Context, k *redigolock.Lock) error {
			_, err := k.Fence(ctx)
			return err
		},
	}
}
