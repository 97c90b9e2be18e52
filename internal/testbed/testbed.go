// Package testbed is what the tests of redigolock run on: a Locker whose connections lead through a proxy that injects faults, to a
// redis-server or, in virtual time, to a server in memory; and what they wait and compare with. Only tests import it.
package testbed

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
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/scripts"
)

// A Rig is a Locker on a pool that leads through a fault-injecting proxy to a real server. The server knows all scripts,
// so that each verb is one request.
type Rig struct {
	T      *testing.T
	Server Server
	Proxy  Proxy
	Locker *redigolock.Locker
}

// A Server is a *redistest.Server, or a SimServer.
type Server interface {
	Do(cmd string, args ...any) (any, error)
	Pool() *redis.Pool
	Dial(opts ...redis.DialOption) (redis.Conn, error)
	Pause()
	Resume()
	Kill()
	Restart() error
	Calls() (map[string]int64, error)
}

// A Proxy is a *redistest.Proxy, or a simProxy.
type Proxy interface {
	Pool() *redis.Pool
	Dial(opts ...redis.DialOption) (redis.Conn, error)
	Rule(f func(redistest.Request) redistest.Action)
	Requests() []redistest.Request
	Conns() int
	Refuse(refuse bool)
	CutAll()
}

// Real is the server of a rig that has a real one.
func (r *Rig) Real() *redistest.Server { return r.Server.(*redistest.Server) }

// TCP is the proxy of a rig that has a real one.
func (r *Rig) TCP() *redistest.Proxy { return r.Proxy.(*redistest.Proxy) }

func New(t *testing.T) *Rig {
	t.Helper()
	return NewOn(t, redistest.Start(t))
}

func NewOn(t *testing.T, server *redistest.Server) *Rig {
	t.Helper()
	proxy := redistest.NewProxy(t, server.Addr())
	r := &Rig{T: t, Server: server, Proxy: proxy, Locker: &redigolock.Locker{Pool: proxy.Pool(), OpTimeout: Unhurried}}
	t.Cleanup(func() { r.Locker.Close() })
	r.Warm()
	return r
}

// Warm lets the server know all scripts.
func (r *Rig) Warm() {
	r.T.Helper()
	warm := &redigolock.Locker{Pool: r.Server.Pool(), AcquireWith: redigolock.SetNXScript, OpTimeout: Unhurried}
	k := r.Must(warm.TryAcquire(bg, "warm", time.Minute))
	r.OK(k.Verify(bg))
	r.OK(k.Extend(bg, time.Minute))
	_, err := k.Fence(bg)
	r.OK(err)
	c := r.Server.Pool().Get()
	_, err = redigolock.Inspect(bg, c, "warm")
	r.OK(err)
	c.Close()
	r.OK(k.Release(bg))
	r.Do("FLUSHDB")
}

var bg = context.Background()

func (r *Rig) OK(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatal(err)
	}
}

// Must is for the results of an acquire.
func (r *Rig) Must(k *redigolock.Lock, err error) *redigolock.Lock {
	r.T.Helper()
	r.OK(err)
	return k
}

// Do asks the server, past the proxy.
func (r *Rig) Do(cmd string, args ...any) any {
	r.T.Helper()
	reply, err := r.Server.Do(cmd, args...)
	r.OK(err)
	return reply
}

// Get is the token in the key, "" if there is none.
func (r *Rig) Get(key string) string {
	r.T.Helper()
	token, err := redis.String(r.Server.Do("GET", key))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		r.T.Fatal(err)
	}
	return token
}

func (r *Rig) PTTL(key string) time.Duration {
	r.T.Helper()
	return time.Duration(r.Do("PTTL", key).(int64)) * time.Millisecond
}

// ScriptNames tells by its hash which script an EVALSHA runs.
var ScriptNames = scriptNames()

func scriptNames() map[any]string {
	names := map[any]string{}
	for name, hash := range scripts.Digests {
		names[hash] = strings.ToLower(name)
	}
	return names
}

// VerbOf names a request: the script's name, else the command.
func VerbOf(q redistest.Request) string {
	if q.Name == "EVALSHA" {
		return ScriptNames[any(q.Args[0])]
	}
	return strings.ToLower(q.Name)
}

// Sent returns the requests of a verb that came to the proxy.
func (r *Rig) Sent(verb string) []redistest.Request {
	var found []redistest.Request
	for _, q := range r.Proxy.Requests() {
		if VerbOf(q) == verb {
			found = append(found, q)
		}
	}
	return found
}

// Rule has f decide about each request; n counts the requests of its verb since now, from 1.
func (r *Rig) Rule(f func(verb string, n int) redistest.Action) {
	seen := map[string]int{}
	r.Proxy.Rule(func(q redistest.Request) redistest.Action {
		verb := VerbOf(q)
		seen[verb]++
		return f(verb, seen[verb])
	})
}

// Plan lists what happens to the first requests of each verb from now on; the later ones pass.
func (r *Rig) Plan(actions map[string][]redistest.Action) {
	r.Rule(func(verb string, n int) redistest.Action {
		if list := actions[verb]; n <= len(list) {
			return list[n-1]
		}
		return redistest.Pass()
	})
}

// Silent checks that f sends nothing.
func (r *Rig) Silent(what string, f func()) {
	r.T.Helper()
	before := len(r.Proxy.Requests())
	f()
	if sent := r.Proxy.Requests()[before:]; len(sent) > 0 {
		r.T.Errorf("%s sent %v", what, sent)
	}
}

// A Clock stands still until it is moved.
type Clock struct {
	mu sync.Mutex // protects t
	t  time.Time
}

// NewClock is a clock that stands at t.
func NewClock(t time.Time) *Clock { return &Clock{t: t} }

func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// AddMonotonic moves only the monotonic part. The time package has no way to do it: it is done on the representation of
// time.Time, whose second word is the monotonic reading, and checked.
func (c *Clock) AddMonotonic(t *testing.T, d time.Duration) {
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

// AddWall moves only the wall clock's part.
func (c *Clock) AddWall(t *testing.T, d time.Duration) {
	t.Helper()
	c.Add(d)
	c.AddMonotonic(t, -d)
}

// ShortOp is an OpTimeout for tests that run into it: short enough to wait for, and long enough that on a busy machine
// what is to be answered is answered in time.
const ShortOp = 600 * time.Millisecond

// Unhurried is an OpTimeout for tests in real time that do not run into it: it only ends a hang. In the default of a second a busy
// machine may stand still.
const Unhurried = 30 * time.Second

// ValidFor is what a ttl is good for, by the contract's formula.
func ValidFor(ttl time.Duration) time.Duration { return ttl - ttl/100 - 2*time.Millisecond }

// Wants checks that errors.Is finds each of targets in err.
func Wants(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("the error is %v, want one that is %v", err, target)
		}
	}
}

// WantsNot checks that errors.Is finds none of targets in err.
func WantsNot(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if errors.Is(err, target) {
			t.Errorf("the error is %v, want one that is not %v", err, target)
		}
	}
}

// Receive waits for ch, for ten seconds at most.
func Receive[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10 s: %s", what)
	}
	return v
}

// UntilSent calls f, whose time is short and which is to lose a reply, again while its time was over before it had sent
// anything, as can be on a busy machine. sent is how many requests have come.
func UntilSent(sent func() int, f func() error) (err error) {
	for range 20 {
		before := sent()
		if err = f(); errors.Is(err, redigolock.ErrUnknown) || sent() > before {
			break
		}
	}
	return err
}

// InBackground runs f on a goroutine, and returns its result through a channel.
func InBackground[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// Running reports whether a goroutine has this in its stack.
func Running(name string) bool {
	stacks := make([]byte, 1<<20)
	n := runtime.Stack(stacks, true)
	for n == len(stacks) {
		stacks = make([]byte, 2*len(stacks))
		n = runtime.Stack(stacks, true)
	}
	return strings.Contains(string(stacks[:n]), name)
}

// Dial opens a connection whose every reply is bounded by 30 s, so that a promise of less is the library's. It is closed with the
// test.
func Dial(t testing.TB, addr string, opts ...redis.DialOption) redis.Conn {
	t.Helper()
	bounds := []redis.DialOption{redis.DialConnectTimeout(30 * time.Second), redis.DialReadTimeout(30 * time.Second)}
	c, err := redis.Dial("tcp", addr, append(bounds, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Idle gives a pool n idle connections.
func Idle(p *redis.Pool, n int) {
	var conns []redis.Conn
	for range n {
		conns = append(conns, p.Get())
	}
	for _, c := range conns {
		c.Close()
	}
}

// PlainSetNX is an AcquireFunc of a user's own that knows nothing of this package but HeldError.
func PlainSetNX(_ context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	_, err := redis.String(c.Do("SET", key, token, "NX", "PX", ttl.Milliseconds()))
	if errors.Is(err, redis.ErrNil) {
		return &redigolock.HeldError{Key: key}
	}
	return err
}

// PlainRelease is a ReleaseFunc of a user's own.
func PlainRelease(_ context.Context, c redis.Conn, key, token string) error {
	const lua = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
	n, err := redis.Int(c.Do("EVAL", lua, 1, key, token))
	if err == nil && n == 0 {
		return redigolock.ErrNotHeld
	}
	return err
}

// AcquireWays are the ways to acquire, with the verb that each sends.
var AcquireWays = []struct {
	Name string
	With redigolock.AcquireFunc
	Verb string
}{
	{"default", nil, "set"},
	{"SetNX", redigolock.SetNX, "set"},
	{"SetNXVerified", redigolock.SetNXVerified, "set"},
	{"SetNXGet", redigolock.SetNXGet, "set"},
	{"SetNXScript", redigolock.SetNXScript, "setnx"},
	{"own", PlainSetNX, "set"},
}

// NewOnMini is a rig without faults, on a server that starts fast.
func NewOnMini(t *testing.T) *Rig {
	return &Rig{T: t, Locker: &redigolock.Locker{Pool: redistest.StartMini(t).Pool()}}
}

// AfterSetNX is an AcquireFunc that calls f when SetNX has returned.
func AfterSetNX(f func()) redigolock.AcquireFunc {
	return func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
		err := redigolock.SetNX(ctx, c, key, token, ttl)
		f()
		return err
	}
}

// LockUses are what a holder does with its lock.
func LockUses() map[string]func(context.Context, *redigolock.Lock) error {
	return map[string]func(context.Context, *redigolock.Lock) error{
		"verify": func(ctx context.Context, k *redigolock.Lock) error { return k.Verify(ctx) },
		"extend": func(ctx context.Context, k *redigolock.Lock) error { return k.Extend(ctx, time.Hour) },
		"fence": func(ctx context.Context, k *redigolock.Lock) error {
			_, err := k.Fence(ctx)
			return err
		},
	}
}

// clocks are the Lockers' own, by their Owner.
var clocks sync.Map

func init() {
	hooks.Now = func(owner string) time.Time {
		if now, ok := clocks.Load(owner); ok {
			return now.(func() time.Time)()
		}
		return time.Now()
	}
}

// SetClock gives the Locker a clock, and an Owner that no other Locker has. It must be called before the Locker is used.
func SetClock(l *redigolock.Locker, now func() time.Time) {
	l.Owner = redigolock.NewToken()
	clocks.Store(l.Owner, now)
}
