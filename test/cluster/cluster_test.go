package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// noDial is a Dial that must not be called.
func noDial(t *testing.T) func(context.Context, string) (redis.Conn, error) {
	return func(context.Context, string) (redis.Conn, error) {
		t.Error("I/O")
		return nil, errors.New("no I/O")
	}
}

func TestClusterRefusesBadFields(t *testing.T) {
	for name, c := range map[string]*lock.Cluster{
		"no address":       {},
		"an empty address": {Addrs: []string{""}},
		"a URL":            {Addrs: []string{"redis://a:1"}},
		"twice":            {Addrs: []string{"a", "a:6379"}},
		"negative":         {Addrs: []string{"a"}, MaxIdle: -1},
		"negative too":     {Addrs: []string{"a"}, MaxActive: -1},
	} {
		c.Dial = noDial(t)
		if _, err := (&lock.Locker{Pool: c}).TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Get().Err(); !errors.Is(err, lock.ErrInvalid) {
			t.Errorf("%s: Get: %v", name, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
	var none *lock.Cluster
	if _, err := (&lock.Locker{Pool: none}).TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrInvalid) {
		t.Errorf("nil: %v", err)
	}
}

func TestClusterIsClosed(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{"a"}, Dial: noDial(t)}
	conn := c.Get()
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := conn.Do("GET", "k"); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("a connection of before: %v", err)
	}
	if err := c.Get().Err(); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	if _, err := (&lock.Locker{Pool: c}).Acquire(bg, "k", time.Second); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("Acquire: %v", err)
	}
}

// boundPool is a foreign pool whose connections lead to one node.
type boundPool struct{ c *lock.Cluster }

func (p boundPool) Get() redis.Conn { return p.c.Get() }

func TestMuxOverAForeignClusterIsRefused(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{"a"}, Dial: noDial(t)}
	defer c.Close()
	m := &lock.Mux{Pool: boundPool{c}}
	defer m.Close()
	l := &lock.Locker{Pool: m}
	defer l.Close()
	if _, err := l.TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrInvalid) {
		t.Errorf("TryAcquire: %v", err)
	}
	if _, err := m.Get().Do("GET", "k"); !errors.Is(err, lock.ErrInvalid) {
		t.Errorf("Do: %v", err)
	}
}

// TestClusterGuardsInOneSlot: the resource and its guard must be at one node.
func TestClusterGuardsInOneSlot(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{"a"}, Dial: noDial(t)}
	defer c.Close()
	if _, err := lock.GuardDo(bg, c.Get(), "guard", 1, "SET", "key", "v"); !errors.Is(err, lock.ErrInvalid) {
		t.Error(err)
	}
}

// TestFairClusterNeedsShardedMessages: a server without them says so to who tries, and to who waits. miniredis is one.
func TestFairClusterNeedsShardedMessages(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{redistest.StartMini(t).Addr()}}
	defer c.Close()
	l := &lock.Locker{Pool: c, Fair: true}
	defer l.Close()
	_, tried := l.TryAcquire(bg, "k", time.Second)
	_, waited := l.Acquire(bg, "k", time.Second)
	for _, err := range []error{tried, waited} {
		if !errors.Is(err, lock.ErrUnsupported) || !strings.Contains(fmt.Sprint(err), "Redis 7.0") {
			t.Error(err)
		}
	}
}

// TestClusterHangs: what OpTimeout bounds, also the first question for the map and a dial that no context ends.
func TestClusterHangs(t *testing.T) {
	over := make(chan struct{})
	c := &lock.Cluster{Addrs: []string{"a", "b"}, Dial: func(context.Context, string) (redis.Conn, error) {
		<-over
		return nil, errors.New("over")
	}}
	l := &lock.Locker{Pool: c, OpTimeout: 50 * time.Millisecond}
	begin := time.Now()
	if _, err := l.TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrUnavailable) || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	close(over)
	if err := errors.Join(l.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenReadsTheNodesOfAURL(t *testing.T) {
	for rawURL, want := range map[string]string{
		"redis-cluster://h1":                           "[h1:6379]",
		"redis-clusters://u:hun@ter2@h1:1,h2,[::1]:3/": "[h1:1 h2:6379 [::1]:3]",
		"redis-cluster://:hunter2@h1,h2:7000/0":        "[h1:6379 h2:7000]",
	} {
		p, err := lock.Open(rawURL, redis.DialContextFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("not dialled")
		}))
		if err != nil {
			t.Errorf("%s: %v", rawURL, err)
			continue
		}
		if c, ok := p.(*lock.Cluster); !ok || fmt.Sprint(c.Addrs) != want {
			t.Errorf("%s: %T", rawURL, p)
		}
		if _, err := p.Get().Do("GET", "k"); err == nil || !strings.Contains(err.Error(), "not dialled") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: %v", rawURL, err)
		}
		p.Close()
		if _, err := lock.NewPool(rawURL); !errors.Is(err, lock.ErrInvalid) || !strings.Contains(err.Error(), "use Open") {
			t.Errorf("NewPool: %v", err)
		}
	}
	for _, rawURL := range []string{"redis-cluster://", "redis-cluster://h1,", "redis-cluster://h1,h1:6379", "redis-cluster://h1/1",
		"redis-cluster://h1?master=m", "redis-cluster://hunter2@:1:1", "redis-cluster:h1", "redis-cluster://u:@h1"} {
		if p, err := lock.Open(rawURL); !errors.Is(err, lock.ErrInvalid) || p != nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", rawURL, p, err)
		}
	}
}

// TestRealCluster uses every verb of a Locker, for keys of all nodes, by a Cluster that knows one of them.
func TestRealCluster(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{})
	c := &lock.Cluster{Addrs: servers.Addrs()[:1]}
	defer c.Close()
	l := &lock.Locker{Pool: c, OpTimeout: testbed.Unhurried}
	defer l.Close()
	for i := range 30 {
		key := fmt.Sprint("key", i)
		k, err := l.TryAcquire(bg, key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		ctx := k.KeepAlive(bg)
		if err := errors.Join(k.Verify(bg), k.Extend(bg, time.Hour)); err != nil {
			t.Error(err)
		}
		if _, err := k.Fence(bg); err != nil {
			t.Error(err)
		}
		if _, err := l.TryAcquire(bg, key, time.Minute); !errors.Is(err, lock.ErrHeld) {
			t.Error(err)
		}
		if ctx.Err() != nil {
			t.Error(context.Cause(ctx))
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	}
	if n := redirections(t, servers); n.moved+n.asked != 0 {
		t.Errorf("%+v", n)
	}
}

// A redirected is how many commands the servers of a cluster have answered MOVED and ASK.
type redirected struct{ moved, asked int64 }

func redirections(t *testing.T, servers *redistest.Cluster) (n redirected) {
	t.Helper()
	for _, s := range servers.Servers {
		info, err := redis.String(s.Do("INFO", "errorstats"))
		if err != nil {
			continue // it was killed
		}
		n.moved += errorCount(info, "MOVED")
		n.asked += errorCount(info, "ASK")
	}
	return n
}

// errorCount is how often INFO says that a server has given this error.
func errorCount(info, word string) (n int64) {
	_, rest, _ := strings.Cut(info, "errorstat_"+word+":count=")
	_, _ = fmt.Sscanf(rest, "%d", &n)
	return n
}

// since is how many more there are now.
func (r redirected) since(t *testing.T, servers *redistest.Cluster) redirected {
	t.Helper()
	n := redirections(t, servers)
	return redirected{n.moved - r.moved, n.asked - r.asked}
}

// clusterKinds are the ways to use a Cluster.
var clusterKinds = map[string]func(t *testing.T, c *lock.Cluster) *lock.Locker{
	"Cluster": func(_ *testing.T, c *lock.Cluster) *lock.Locker { return &lock.Locker{Pool: c} },
	"Cluster+Mux": func(t *testing.T, c *lock.Cluster) *lock.Locker {
		m := &lock.Mux{Pool: c}
		t.Cleanup(func() { m.Close() })
		return &lock.Locker{Pool: m}
	},
	"Cluster+Fair": func(_ *testing.T, c *lock.Cluster) *lock.Locker { return &lock.Locker{Pool: c, Fair: true} },
}

// Each node of a cluster is known by itself.
func TestClusterLearnsWhatEachNodeKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testbed.NewSimServer(t), testbed.NewSimServer(t)
		const slots = "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$1\r\na\r\n:1\r\n*3\r\n:8192\r\n:16383\r\n*2\r\n$1\r\nb\r\n:1\r\n"
		const info = "cluster_state:ok\r\ncluster_current_epoch:1\r\ncluster_my_epoch:1\r\n"
		for s, older := range map[*sim.Server]bool{a: false, b: true} {
			s.Rule(func(q sim.Request) sim.Action {
				switch {
				case q.Name == "CLUSTER" && q.Args[0] == "SLOTS":
					return sim.Answer(slots)
				case q.Name == "CLUSTER":
					return sim.Answer(fmt.Sprintf("$%d\r\n%s\r\n", len(info), info))
				case older:
					return testbed.OlderSays(q)
				}
				return sim.Pass()
			})
		}
		c := &lock.Cluster{Addrs: []string{"a:1", "b:1"}, Dial: func(ctx context.Context, addr string) (redis.Conn, error) {
			return map[string]*sim.Server{"a:1": a, "b:1": b}[addr].DialRedis(ctx)
		}}
		t.Cleanup(func() { c.Close() })
		first, second := testbed.SimLocker(t, &lock.Locker{Pool: c}), testbed.SimLocker(t, &lock.Locker{Pool: c})
		for key, want := range map[string]string{ // bar is in slot 5061, foo in 12182
			"bar": "SETGET SETGET release DELEX DELIFEQ / SETGET DELEX",
			"foo": "SETGET SETGET SET GET release DELEX DELIFEQ / SET GET release",
		} {
			if got := testbed.TwoCycles(t, first, key, a, b); got != want {
				t.Errorf("%s: sent %s, want %s", key, got, want)
			}
		}
		if got, want := testbed.TwoCycles(t, second, "bar", a, b), "SETGET DELEX / SETGET DELEX"; got != want {
			t.Errorf("of another Locker: sent %s, want %s", got, want)
		}
	})
}

// What a Release has left on a node that went away is removed soon after the slot has another node, or its node is back, however long
// the clean-up has paused by then. Whoever uses the Cluster finds that out, here a waiter of another Locker.
func TestClusterCleansUpWhereTheSlotIsServedAgain(t *testing.T) {
	for name, serve := range map[string]func(c *sim.Cluster, accept func()) error{
		"another node": func(c *sim.Cluster, _ func()) error { return c.End("key", 1-c.Owner("key")) },
		"its node":     func(_ *sim.Cluster, accept func()) error { accept(); return nil },
	} {
		for _, kind := range []string{"Cluster", "Cluster+Mux", "Cluster+Fair"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { cleansUpWhereServed(t, kind, serve) })
			})
		}
	}
}

func cleansUpWhereServed(t *testing.T, kind string, serve func(c *sim.Cluster, accept func()) error) {
	servers := sim.NewCluster(t, 2)
	pool := &lock.Cluster{Addrs: servers.Addrs(), Dial: servers.DialRedis}
	t.Cleanup(func() { pool.Close() })
	var lockers []*lock.Locker
	for range 2 {
		l := clusterKinds[kind](t, pool)
		t.Cleanup(func() { l.Close() })
		lockers = append(lockers, l)
	}
	k, err := lockers[0].Acquire(bg, "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	next := testbed.InBackground(func() time.Time {
		ctx, cancel := context.WithTimeout(bg, 5*time.Minute)
		defer cancel()
		k, err := lockers[1].Acquire(ctx, "key", time.Minute)
		got := time.Now()
		if err := errors.Join(err, k.Release(bg)); err != nil {
			t.Error(err)
		}
		return got
	})
	time.Sleep(time.Second)
	node := servers.Nodes[servers.Owner("key")]
	accept := node.RefuseDials()
	node.Cut()
	if err := k.Release(bg); !errors.Is(err, lock.ErrUnknown) && !errors.Is(err, lock.ErrUnavailable) {
		t.Error(err)
	}
	time.Sleep(25 * time.Second)
	served := time.Now()
	if err := serve(servers, accept); err != nil {
		t.Fatal(err)
	}
	took := (<-next).Sub(served)
	t.Logf("the next lock after %v", took)
	if took > time.Second {
		t.Errorf("the next lock came %v after the slot was served again", took)
	}
}
