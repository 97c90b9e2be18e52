package redigolock_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// dialledTo returns where a pool of the URL dials to.
func dialledTo(t *testing.T, url string) (network, addr string) {
	t.Helper()
	capture := redis.DialContextFunc(func(_ context.Context, n, a string) (net.Conn, error) {
		network, addr = n, a
		return nil, errNotDialled
	})
	pool, err := redigolock.NewPool(url, capture)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	defer pool.Close()
	if err := pool.Get().Err(); !errors.Is(err, errNotDialled) {
		t.Fatalf("%s: %v", url, err)
	}
	return network, addr
}

func TestNewPoolTakesEveryFormOfURL(t *testing.T) {
	for url, want := range map[string][2]string{
		"redis://":                       {"tcp", "localhost:6379"},
		"redis:///":                      {"tcp", "localhost:6379"},
		"redis:///3":                     {"tcp", "localhost:6379"},
		"redis://h":                      {"tcp", "h:6379"},
		"redis://h:":                     {"tcp", "h:6379"},
		"redis://h:7000":                 {"tcp", "h:7000"},
		"redis://h:7000/":                {"tcp", "h:7000"},
		"redis://h:65535/15":             {"tcp", "h:65535"},
		"redis://:7000":                  {"tcp", "localhost:7000"},
		"redis://127.0.0.1:7000":         {"tcp", "127.0.0.1:7000"},
		"redis://[::1]":                  {"tcp", "[::1]:6379"},
		"redis://[::1]:7000/1":           {"tcp", "[::1]:7000"},
		"redis://user:pass@h:7000/1":     {"tcp", "h:7000"},
		"redis://:p%40ss%2F%3A%23@h/1":   {"tcp", "h:6379"},
		"REDIS://h":                      {"tcp", "h:6379"},
		"rediss://h:7000":                {"tcp", "h:7000"},
		"valkey://h":                     {"tcp", "h:6379"},
		"valkeys://h:7000/2":             {"tcp", "h:7000"},
		"unix:///run/redis.sock":         {"unix", "/run/redis.sock"},
		"unix:///run/redis.sock?db=3":    {"unix", "/run/redis.sock"},
		"unix:///run/with%20space":       {"unix", "/run/with space"},
		"unix://user:pass@/run/s?db=0":   {"unix", "/run/s"},
		"unix://:p%2Fss@/run/redis.sock": {"unix", "/run/redis.sock"},
	} {
		if network, addr := dialledTo(t, url); network != want[0] || addr != want[1] {
			t.Errorf("%s dials to %s %s, want %s", url, network, addr, want)
		}
	}
}

// Each has "hunter2" as its password, or as a part of it, or where somebody could have meant it to be.
var badURLs = []string{
	"redis://user:hun#ter2hunter2@host", "redis://:hun ter2hunter2@host", "redis://:hunter2%@host",
	"redis://:hunter2%zz@host",
	"redis://:hunter2/x@host", "redis://user:hunter2/x@host", "redis://user:hunter2?x@host", "redis://user:hunter2[@host",
	"redis://user:hunter2@host:port", "redis://user:hunter2@host:99999", "redis://user:hunter2@host:-1",
	"redis://user:hunter2@host:6379x", "redis://user:hunter2@host:6379:1", "redis://user:hunter2@ho st",
	"redis://user:hunter2@host/x", "redis://user:hunter2@host/-1", "redis://user:hunter2@host/1/2",
	"redis://user:hunter2@host//1",
	"redis://user:hunter2@host/1.5", "redis://user:hunter2@host/99999999999", "redis://user:hunter2@host/+1",
	"redis://user:hunter2@host/0?x=1", "redis://user:hunter2@host?db=1", "redis://user:hunter2@host/0#frag",
	"redis://user:hunter2@[::1", "redis://user:hunter2@[::1]x", "redis://user:hunter2@::1:1", "redis://user:hunter2@%zz",
	"redis:hunter2@host", "redis:user:hunter2@host", "redis:/user:hunter2@host", "user:hunter2@host", ":hunter2@host",
	"hunter2", "hunter2://", "http://user:hunter2@host", "s3cret-hunter2://host", "redis+tls://user:hunter2@host",
	"rediss:hunter2", " redis://user:hunter2@host", "redis://user:hunter2@host\n", "redis://user:hunter2\x00@host",
	"redis://user:hunter2@host\x7f", "\thunter2", "://hunter2", "//user:hunter2@host", "/run/hunter2", "",
	"unix://hunter2", "unix://hunter2/run/s", "unix://user:hunter2@host/run/s", "unix://user:hunter2@", "unix:run/hunter2",
	"unix:///run/s?database=hunter2", "unix:///run/s?db=hunter2", "unix:///run/s?db=1&password=hunter2",
	"unix:///run/s?db=1&db=2&x=hunter2", "unix:///run/s?db=1&db=2", "unix:///run/s?db=3%zz", "unix:///run/s?db=3;x=hunter2",
	"redis://hunter2:@host", "rediss://hunter2:@host/1", "valkey://hunter2:@host:1", "unix://hunter2:@/run/s",
	"redis://%20:@host",
	"valkey://]", "redis://[hunter2]", "redis://]hunter2[:1", "redis://hunter2]", "redis://[]:1", "redis://:hunter2@h1,h2",
	"redis://:hunter2@h1:1,h2:2", "redis://:hunter2@h1:1,h2",
	"unix:///run/s?db=-1", "unix:///run/s#hunter2",
	"redis-sentinel://", "redis-sentinel://:hunter2@h1", "redis-sentinel://:hunter2@h1?master=", "redis-sentinel://:hunter2@h1/x?master=m",
	"redis-sentinel://:hunter2@h1,?master=m", "redis-sentinel://:hunter2@,h1?master=m", "redis-sentinel://:hunter2@h1,h1:26379?master=m",
	"redis-sentinel://:hunter2@h1:x,h2?master=m", "redis-sentinel://:hunter2@h1:99999?master=m", "redis-sentinel://:hunter2@::1:1?master=m",
	"redis-sentinel://:hunter2@[::1,h2?master=m", "redis-sentinel://:hunter2@h1,a:hunter2@h2:x?master=m", "redis-sentinel://h1?master=m&password=hunter2",
	"redis-sentinel://h1?master=m&sentinel_password=", "redis-sentinel://h1?master=m&sentinel_password=hunter2&sentinel_password=hunter2",
	"redis-sentinel://h1?master=m&sentinel_username=hunter2", "redis-sentinel://h1?master=m&sentinel_password=hunter2%zz",
	"redis-sentinel://h1?master=m&sentinel_password=hunter2;x", "redis-sentinel://h1?master=m&sentinel_password=hunter2#frag",
	"redis-sentinel://hunter2:@h1?master=m", "redis-sentinel://:hunter2@h1/1/2?master=m", "redis-sentinel://:hunter2@h 1?master=m",
	"redis-sentinels://:hunter2@h1", "redis-sentinel:hunter2@h1?master=m", "redis-sentinel:///hunter2?master=m",
}

func TestNewPoolRefusesABadURLAndShowsNoPartOfIt(t *testing.T) {
	for _, url := range badURLs {
		pool, err := redigolock.NewPool(url)
		if err == nil {
			pool.Close()
			t.Errorf("%q is accepted", url)
			continue
		}
		if open, as := redigolock.Open(url); open != nil || as == nil || as.Error() != err.Error() {
			t.Errorf("%q: Open says %v, NewPool %v", url, as, err)
		}
		wants(t, err, redigolock.ErrInvalid)
		for _, part := range []string{"hunter2", "hun", "ter2", "zz", "s3cret", "frag"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%q: the message shows %q: %v", url, part, err)
			}
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "hunter2") {
				t.Errorf("%q: a wrapped error shows the password: %v", url, e)
			}
		}
	}
}

// Which user acts when the URL names one: that one, or the URL is refused.
func TestNewPoolNeverActsAsAnotherUser(t *testing.T) {
	s := redistest.Start(t)
	for _, rule := range []string{"nopass", ">secret"} {
		if _, err := s.Do("ACL", "SETUSER", "app", "reset", "on", rule, "~*", "+@all"); err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"app:@", "app:secret@", "app:wrong@", ":@", ""} {
			for _, url := range []string{"redis://" + user + s.Addr(), "unix://" + user + s.Socket()} {
				pool, err := redigolock.NewPool(url)
				if user == "app:@" {
					if wants(t, err, redigolock.ErrInvalid); err == nil {
						pool.Close()
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				c := pool.Get()
				who, err := redis.String(c.Do("ACL", "WHOAMI"))
				c.Close()
				pool.Close()
				want, refused := "default", false
				if strings.HasPrefix(user, "app:") {
					want, refused = "app", rule != "nopass" && user == "app:wrong@"
				}
				if refused && err == nil || !refused && (err != nil || who != want) {
					t.Errorf("%s of a user with %s acts as %q, %v; want %s", user, rule, who, err, want)
				}
			}
		}
	}
}

func TestNewPoolSaysHowManyServersItTakes(t *testing.T) {
	_, err := redigolock.NewPool("redis://h1,h2")
	if err == nil || !strings.Contains(err.Error(), "several hosts") {
		t.Errorf("%v", err)
	}
}

func TestNewPoolFieldsAreAsDocumented(t *testing.T) {
	pool, err := redigolock.NewPool("redis://h")
	if err != nil {
		t.Fatal(err)
	}
	if pool.MaxActive != 64 || pool.MaxIdle != 64 || !pool.Wait || pool.IdleTimeout != 4*time.Minute {
		t.Errorf("MaxActive %d, MaxIdle %d, Wait %v, IdleTimeout %v",
			pool.MaxActive, pool.MaxIdle, pool.Wait, pool.IdleTimeout)
	}
	if pool.TestOnBorrowContext == nil || pool.TestOnBorrow != nil { // TestOnBorrow ignores the context
		t.Error("the idle test does not know contexts")
	}
	if pool.DialContext == nil || pool.Dial != nil {
		t.Error("the dial does not know contexts")
	}
}

func TestNewPoolBoundsItsConnectionsAndWaits(t *testing.T) {
	s := redistest.StartMini(t)
	pool, err := redigolock.NewPool(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var conns []redis.Conn
	for range 64 {
		c := pool.Get()
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	_, err = pool.GetContext(ctx)
	wants(t, err, context.DeadlineExceeded)
	got := inBackground(func() error {
		c := pool.Get()
		defer c.Close()
		return c.Err()
	})
	for _, c := range conns {
		c.Close()
	}
	if err := receive(t, "the 65th caller gets a connection", got); err != nil {
		t.Error(err)
	}
}

func TestNewPoolTestsByPingOnlyWhatWasIdleForLong(t *testing.T) {
	pool, err := redigolock.NewPool("redis://h")
	if err != nil {
		t.Fatal(err)
	}
	for _, idle := range []time.Duration{0, time.Second, 9 * time.Second} {
		if err := pool.TestOnBorrowContext(bg, untouchable{T: t}, time.Now().Add(-idle)); err != nil {
			t.Errorf("idle for %v: %v", idle, err)
		}
	}
	old := time.Now().Add(-10*time.Second - time.Millisecond)
	c := &scriptedConn{Replies: []any{"PONG"}}
	if err := pool.TestOnBorrowContext(bg, c, old); err != nil || strings.Join(c.Commands, "") != "PING" {
		t.Errorf("sent %q, %v", c.Commands, err)
	}
	for _, reply := range []any{redis.Error("LOADING"), redis.Error("NOAUTH"), errors.New("EOF")} {
		if err := pool.TestOnBorrowContext(bg, &scriptedConn{Replies: []any{reply}}, old); err == nil {
			t.Errorf("a connection that answers PING with %v is lent", reply)
		}
	}
	for how, ctx := range endedContexts(t) {
		if err := pool.TestOnBorrowContext(ctx, untouchable{T: t}, old); !errors.Is(err, ctx.Err()) {
			t.Errorf("%s: %v", how, err)
		}
	}
}

// A master that was replaced, and has come back as a replica, answers a PING.
func TestNewPoolOverSentinelsAsksForTheRoleOfWhatWasIdleForLong(t *testing.T) {
	for role, lent := range map[string]bool{"master": true, "slave": false} {
		pool, err := redigolock.NewPool("redis-sentinel://h?master=m")
		if err != nil {
			t.Fatal(err)
		}
		c := &scriptedConn{Replies: []any{"PONG", []any{[]byte(role)}}}
		err = pool.TestOnBorrowContext(bg, c, time.Now().Add(-time.Minute))
		if sent := strings.Join(c.Commands, " "); (err == nil) != lent || sent != "PING ROLE" {
			t.Errorf("%s: sent %s, %v", role, sent, err)
		}
	}
}

// FACTS: a hung server blocks the idle test for ever; its context must bound it.
func TestNewPoolIdleTestHonoursItsContext(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.StartMini(t).Addr())
	proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Swallow() })
	pool, err := redigolock.NewPool(proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	c := dialFor(t, proxy.Addr())
	begin := time.Now()
	err = pool.TestOnBorrowContext(ctx, c, time.Time{})
	wants(t, err, context.DeadlineExceeded)
	if took := time.Since(begin); took > 10*time.Second || c.Err() == nil {
		t.Errorf("after %v; the connection says %v", took, c.Err())
	}
}

// FACTS: 10 idle connections gave 10 failed calls after a restart. A pool cannot see it at once, but heals by itself.
func TestNewPoolHealsAfterARestart(t *testing.T) {
	server := redistest.Start(t)
	pool, err := redigolock.NewPool(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var conns []redis.Conn
	for range 10 {
		c := pool.Get()
		if _, err := c.Do("PING"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	failures := 0
	eventually(t, "the pool works again", func() bool {
		c := pool.Get()
		defer c.Close()
		err := redigolock.SetNXVerified(bg, c, "k", "tok", minute)
		if err != nil {
			failures++
			wants(t, err, redigolock.ErrUnknown) // it was sent, and nothing came
		}
		return err == nil
	})
	if failures > 10 {
		t.Errorf("%d failed calls for 10 broken connections", failures)
	}
}

// bindConn is a connection of a cluster client: it must be told the key before anything is sent.
type bindConn struct {
	*scriptedConn
	err   error
	bound []string // the keys, and what had been sent by then
}

func (c *bindConn) Bind(keys ...string) error {
	c.bound = append(c.bound, strings.Join(keys, ",")+strings.Join(c.Commands, ","))
	return c.err
}

func TestBorrowedConnectionIsBoundToTheKeyFirst(t *testing.T) {
	c := &bindConn{scriptedConn: &scriptedConn{Replies: []any{"OK", nil}}}
	l := &redigolock.Locker{Pool: poolFunc(func() redis.Conn { return c }), AcquireWith: redigolock.SetNX}
	if _, err := l.TryAcquire(bg, "k", minute); err != nil {
		t.Fatal(err)
	}
	if len(c.bound) != 1 || c.bound[0] != "k" {
		t.Errorf("bound to %q", c.bound)
	}
	c.err = errNotDialled
	sent := len(c.Commands)
	_, err := l.TryAcquire(bg, "k", minute)
	wants(t, err, errNotDialled)
	wantsNot(t, err, redigolock.ErrUnknown)
	if len(c.Commands) != sent {
		t.Errorf("sent %q on a connection that could not be bound", c.Commands[sent:])
	}
}

// After a failover a connection to the demoted master stays open: it must not be lent again.
func TestReadOnlyConnectionIsNotLentAgain(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.StartMini(t).Addr())
	pool := proxy.Pool()
	defer pool.Close()
	l := &redigolock.Locker{Pool: pool}
	defer l.Close()
	proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Conn == 1 && q.Name == "SET" {
			return redistest.Reply("-READONLY You can't write against a read only replica.\r\n")
		}
		return redistest.Pass()
	})
	if _, err := l.TryAcquire(bg, "k", minute); err == nil {
		t.Fatal("acquired on a replica")
	}
	k, err := l.TryAcquire(bg, "k", minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
	requests := proxy.Requests()
	if last := requests[len(requests)-1]; last.Conn == 1 {
		t.Error("the connection to the replica was used again")
	}
}

// A dialPool has the methods that its fields are set for; see TestConnectionOfOnesOwnIsDialled.
type dialPool struct {
	poolFunc
	dial func(context.Context) (redis.Conn, error)
}

func (p dialPool) DialContext(ctx context.Context) (redis.Conn, error) { return p.dial(ctx) }

type contextOnlyPool struct {
	poolFunc
	get func(context.Context) (redis.Conn, error)
}

func (p contextOnlyPool) GetContext(ctx context.Context) (redis.Conn, error) { return p.get(ctx) }

func TestConnectionOfOnesOwnIsDialled(t *testing.T) {
	own, lent := &scriptedConn{}, &scriptedConn{}
	dial := func(context.Context) (redis.Conn, error) { return own, nil }
	lend := func(context.Context) (redis.Conn, error) { return lent, nil }
	get := poolFunc(func() redis.Conn { return lent })
	for name, tc := range map[string]struct {
		pool redigolock.Pool
		want redis.Conn
	}{
		"redis.Pool with DialContext":  {&redis.Pool{DialContext: dial}, own},
		"redis.Pool with Dial":         {&redis.Pool{Dial: func() (redis.Conn, error) { return own, nil }}, own},
		"another pool with a dial":     {dialPool{get, dial}, own},
		"another pool with GetContext": {contextOnlyPool{get, lend}, lent},
		"another pool":                 {get, lent},
	} {
		c, err := redigolock.DialOwn(bg, tc.pool)
		if err != nil || c != tc.want {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	_, err := redigolock.DialOwn(bg, poolFunc(func() redis.Conn { return &scriptedConn{Broken: errNotDialled} }))
	wants(t, err, errNotDialled)
}

// closeWitness says when it was closed.
type closeWitness struct {
	redis.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeWitness) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func TestDialThatKnowsNoContextIsLeftAndItsConnectionClosed(t *testing.T) {
	gate := make(chan struct{})
	late := &closeWitness{closed: make(chan struct{})}
	pool := &redis.Pool{Dial: func() (redis.Conn, error) { <-gate; return late, nil }}
	ctx, cancel := context.WithCancelCause(bg)
	done := inBackground(func() error { _, err := redigolock.DialOwn(ctx, pool); return err })
	cancel(errTestCause)
	wants(t, receive(t, "the dial is left", done), context.Canceled)
	close(gate)
	receive(t, "what the late dial brought is closed", late.closed)
}

// A countingPool counts how often a connection was borrowed.
type countingPool struct {
	*redis.Pool
	gets atomic.Int64
}

func (p *countingPool) Get() redis.Conn {
	p.gets.Add(1)
	return p.Pool.Get()
}

func (p *countingPool) GetContext(ctx context.Context) (redis.Conn, error) {
	p.gets.Add(1)
	return p.Pool.GetContext(ctx)
}

// A gatedPool has its first borrow wait until open is closed, once it is armed. It takes no context.
type gatedPool struct {
	getPool
	armed   atomic.Bool
	waiting chan struct{}
	open    chan struct{}
}

func newGatedPool(pool *redis.Pool) *gatedPool {
	return &gatedPool{getPool: getPool{Pool: pool}, waiting: make(chan struct{}), open: make(chan struct{})}
}

func (p *gatedPool) Get() redis.Conn {
	if p.armed.CompareAndSwap(true, false) {
		close(p.waiting)
		<-p.open
	}
	return p.getPool.Get()
}

// A hangingDialer dials without a context, as many pools do, and hangs from a certain moment on until the test ends.
type hangingDialer struct {
	dialed func(...redis.DialOption) (redis.Conn, error)
	end    chan struct{}

	mu    sync.Mutex // protects what follows
	stuck bool
	count int
}

func newHangingDialer(t *testing.T, dial func(...redis.DialOption) (redis.Conn, error)) *hangingDialer {
	d := &hangingDialer{dialed: dial, end: make(chan struct{})}
	t.Cleanup(func() { close(d.end) })
	return d
}

func (d *hangingDialer) dial() (redis.Conn, error) {
	d.mu.Lock()
	stuck := d.stuck
	if stuck {
		d.count++
	}
	d.mu.Unlock()
	if stuck {
		<-d.end
		return nil, errors.New("the dial hung until the test ended")
	}
	return d.dialed()
}

// pool keeps no idle connection: each borrow dials.
func (d *hangingDialer) pool() *redis.Pool { return &redis.Pool{Dial: d.dial} }

func (d *hangingDialer) hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = true
}

// hanging is how many dials hang.
func (d *hangingDialer) hanging() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}
