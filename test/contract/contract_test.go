package contract

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "16") // on real servers they do little but wait
	goleak.VerifyTestMain(m)
}

var bg = context.Background()

const (
	opTimeout = 10 * time.Second // a hundred tests dial at a time, and none is about a server that does not answer

	ttl   = time.Minute     // so that a machine that stands still for seconds loses nothing
	kept  = 6 * time.Second // of what KeepAlive keeps: it has two thirds to spare
	short = 3 * time.Second // what ends
)

// A locker is a Locker or a Quorum.
type locker interface {
	TryAcquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	Acquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *redigolock.Lock) error) error
	TryDo(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *redigolock.Lock) error) error
	Close() error
}

// A kind is how a user obtains locks. open returns lockers that share a pool, which is closed with the test.
type kind struct {
	name    string
	servers string // of an environment
	open    func(t *testing.T, e *environment) func() locker
}

// kinds are all of them, by the servers that they need: one, or a cluster, or those of a Sentinel, or three.
var kinds = []kind{
	{"single", "one", func(t *testing.T, e *environment) func() locker { return lockers(e.pool(t), false) }},
	{"Mux", "one", func(t *testing.T, e *environment) func() locker { return lockers(muxed(t, e.pool(t)), false) }},
	{"Fair", "one", func(t *testing.T, e *environment) func() locker { return lockers(e.pool(t), true) }},
	{"Sentinel", "watched", func(t *testing.T, e *environment) func() locker { return lockers(e.pool(t), false) }},
	{"Cluster", "cluster", func(t *testing.T, e *environment) func() locker { return lockers(e.pool(t), false) }},
	{"Cluster+Mux", "cluster", func(t *testing.T, e *environment) func() locker { return lockers(muxed(t, e.pool(t)), false) }},
	{"Cluster+Fair", "cluster", func(t *testing.T, e *environment) func() locker { return lockers(e.pool(t), true) }},
	{"Cluster+Mux+Fair", "cluster", func(t *testing.T, e *environment) func() locker { return lockers(muxed(t, e.pool(t)), true) }},
	{"Quorum", "three", func(t *testing.T, e *environment) func() locker {
		var pools []redigolock.Pool
		for _, open := range e.pools {
			pools = append(pools, open(t))
		}
		return func() locker { return &redigolock.Quorum{Pools: pools, OpTimeout: opTimeout} }
	}},
}

func lockers(p redigolock.Pool, fair bool) func() locker {
	return func() locker { return &redigolock.Locker{Pool: p, Fair: fair, OpTimeout: opTimeout} }
}

func muxed(t *testing.T, p redigolock.Pool) redigolock.Pool {
	m := &redigolock.Mux{Pool: p}
	t.Cleanup(func() { m.Close() })
	return m
}

// An environment is servers, and how a pool over each of them, or all, is opened.
type environment struct {
	pools []func(t *testing.T) redigolock.Pool
}

func (e *environment) pool(t *testing.T) redigolock.Pool { return e.pools[0](t) }

// del deletes a key at all servers, as a foreign hand does.
func (e *environment) del(t *testing.T, key string) {
	t.Helper()
	for _, open := range e.pools {
		c := open(t).Get()
		if _, err := c.Do("DEL", key); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// A site is where a promise is tested.
type site struct {
	*testing.T
	key      string
	l, other locker // of two processes, so to speak
	open     func() locker
	attach   func(ctx context.Context, key, token string, ttl time.Duration) (*redigolock.Lock, error)
	fences   bool
	del      func() // the key
}

func (s *site) must(k *redigolock.Lock, err error) *redigolock.Lock {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	return k
}

func (s *site) ok(err error) {
	s.Helper()
	if err != nil {
		s.Error(err)
	}
}

func (s *site) wants(err error, all ...error) {
	s.Helper()
	for _, want := range all {
		if !errors.Is(err, want) {
			s.Errorf("%v, want %v", err, want)
		}
	}
}

func (s *site) inBackground(f func() error) <-chan error { return testbed.InBackground(f) }

var keys atomic.Int64

// test tests a promise.
func (k kind) test(t *testing.T, e *environment, promise func(s *site)) {
	open := k.open(t, e)
	s := &site{T: t, key: fmt.Sprintf("%s%d", strings.ToLower(k.name), keys.Add(1)), fences: true}
	s.open = func() locker {
		l := open()
		t.Cleanup(func() { l.Close() })
		return l
	}
	s.l, s.other = s.open(), s.open()
	if l, ok := s.other.(*redigolock.Locker); ok {
		s.attach = l.Attach
	} else {
		s.fences = false
	}
	s.del = func() { e.del(t, s.key) }
	promise(s)
}

// TestInMemory runs the suite on miniredis, in virtual time, where it can: there are no Sentinels, and the map of its cluster names no
// port.
func TestInMemory(t *testing.T) {
	for _, k := range kinds {
		if k.servers == "watched" || k.servers == "cluster" {
			continue
		}
		for _, p := range promises {
			t.Run(k.name+"/"+p.name, func(t *testing.T) {
				testbed.InBubble(t, func(t *testing.T, server *sim.Server) { k.test(t, inMemory(t, k, server), p.test) })
			})
		}
	}
}

// inMemory makes an environment of servers in a bubble.
func inMemory(t *testing.T, k kind, first *sim.Server) *environment {
	e := &environment{}
	servers := []*sim.Server{first}
	for k.servers == "three" && len(servers) < 3 {
		servers = append(servers, testbed.NewSimServer(t))
	}
	for _, s := range servers {
		e.pools = append(e.pools, func(t *testing.T) redigolock.Pool { return testbed.SimPool(t, s, "redis") })
	}
	return e
}

// TestOnServers runs it on real ones: the system's Redis, and those that internal/redistest/fetch-newer.sh has fetched.
func TestOnServers(t *testing.T) {
	for _, server := range []string{"redis", "redis8", "valkey"} {
		t.Run(server, func(t *testing.T) {
			if server != "redis" {
				redistest.UseNewer(t, server) // by a variable of the process: its servers are started before the next one's
			}
			environments := map[string]*environment{}
			for _, k := range kinds {
				e := environments[k.servers]
				if e == nil {
					e = onServers(t, k.servers)
					environments[k.servers] = e
				}
				t.Run(k.name, func(t *testing.T) {
					t.Parallel()
					for _, p := range promises {
						t.Run(p.name, func(t *testing.T) {
							t.Parallel()
							k.test(t, e, p.test)
						})
					}
				})
			}
		})
	}
}

// onServers starts real servers.
func onServers(t *testing.T, servers string) *environment {
	e := &environment{}
	open := func(url string) func(t *testing.T) redigolock.Pool {
		return func(t *testing.T) redigolock.Pool {
			p, err := redigolock.Open(url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			return p
		}
	}
	switch servers {
	case "one":
		e.pools = append(e.pools, open(redistest.Start(t).URL()))
	case "three":
		for _, s := range redistest.StartMany(t, 3) {
			e.pools = append(e.pools, open(s.URL()))
		}
	case "watched":
		w := redistest.StartWatched(t, redistest.WatchedConfig{Replicas: 1})
		var addrs []string
		for _, s := range w.Sentinels {
			addrs = append(addrs, s.Addr())
		}
		e.pools = append(e.pools, open("redis-sentinel://"+strings.Join(addrs, ",")+"?master="+redistest.MasterName))
	case "cluster":
		e.pools = append(e.pools, open(redistest.StartCluster(t, redistest.ClusterConfig{}).URL()))
	}
	return e
}
