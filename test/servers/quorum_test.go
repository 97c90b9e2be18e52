package servers

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

const quorumTTL = 20 * time.Second

// quorumServers are five servers, each behind a proxy.
type quorumServers struct {
	*testing.T
	servers []*redistest.Server
	proxies []*redistest.Proxy
}

func startQuorum(t *testing.T) *quorumServers {
	q := &quorumServers{T: t, servers: redistest.StartMany(t, 5)}
	for _, s := range q.servers {
		q.proxies = append(q.proxies, redistest.NewProxy(t, s.Addr()))
	}
	return q
}

// locker is another process. Its bound is one that a busy machine keeps.
func (q *quorumServers) locker() *redigolock.Quorum {
	l := &redigolock.Quorum{OpTimeout: 300 * time.Millisecond}
	for _, p := range q.proxies {
		pool, err := redigolock.NewPool(p.URL())
		if err != nil {
			q.Fatal(err)
		}
		q.Cleanup(func() { pool.Close() })
		l.Pools = append(l.Pools, pool)
	}
	q.Cleanup(func() { l.Close() })
	return l
}

// holders is how many servers have a token in the key, but for another's.
func (q *quorumServers) holders(token string) (n int) {
	for _, s := range q.servers {
		got, err := redis.String(s.Do("GET", "key"))
		if err != nil && !errors.Is(err, redis.ErrNil) {
			q.Fatal(err)
		}
		if got != "" && got != "another" && (token == "" || got == token) {
			n++
		}
	}
	return n
}

// TestQuorumOfRealServers has something be the matter with each set of nodes. The worlds in memory (TestQuorumOfAnyNodes) look at the time
// that it takes.
func TestQuorumOfRealServers(t *testing.T) {
	testbed.Slow(t)
	q := startQuorum(t)
	for name, begin := range map[string]func(i int) (end func()){
		"taken": func(i int) func() {
			if _, err := q.servers[i].Do("SET", "key", "another"); err != nil {
				t.Fatal(err)
			}
			return func() { _, _ = q.servers[i].Do("DEL", "key") }
		},
		"down": func(i int) func() {
			q.proxies[i].Refuse(true)
			q.proxies[i].CutAll()
			return func() { q.proxies[i].Refuse(false) }
		},
		"hung": func(i int) func() {
			q.servers[i].Pause()
			return q.servers[i].Resume
		},
	} {
		l := q.locker()
		if err := l.TryDo(bg, "key", quorumTTL, func(context.Context, *redigolock.Lock) error { return nil }); err != nil {
			t.Fatal(err)
		}
		for mask := range 1 << len(q.servers) {
			q.tryMask(l, name, mask, begin)
			if t.Failed() {
				t.Fatalf("%s: nodes %05b", name, mask)
			}
		}
	}
}

// tryMask acquires and releases while something is the matter with the nodes of a mask.
func (q *quorumServers) tryMask(l *redigolock.Quorum, name string, mask int, begin func(i int) func()) {
	bad := 0
	var ends []func()
	for i := range q.servers {
		if mask&(1<<i) != 0 {
			ends = append(ends, begin(i))
			bad++
		}
	}
	k, err := l.TryAcquire(bg, "key", quorumTTL)
	want := redigolock.ErrNoQuorum
	if name == "taken" {
		want = redigolock.ErrHeld
	}
	switch {
	case bad > 2:
		wants(q.T, err, want)
	case err != nil:
		q.Error(err)
	default:
		if err := k.Verify(bg); err != nil {
			q.Error(err)
		}
		if err := k.Release(bg); err != nil {
			q.Error(err)
		}
	}
	for _, end := range ends {
		end()
	}
	// What a server gets only now is undone, too.
	testbed.Within(q.T, quorumTTL/2, "nothing is left", func() bool { return l.Stats() == redigolock.Stats{} && q.holders("") == 0 })
}

// A server is found that is there twice, by whatever name, and with another of its databases; if its user may ask.
func TestQuorumOfOneServerTwice(t *testing.T) {
	servers := redistest.StartMany(t, 2)
	_, port, err := net.SplitHostPort(servers[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range []string{"+info", "-info"} {
		for _, s := range servers {
			if _, err := s.Do("ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "&*", "+@all", info); err != nil {
				t.Fatal(err)
			}
		}
		for name, second := range map[string]string{
			"another name":        "localhost:" + port + "/0",
			"another database":    servers[0].Addr() + "/1",
			"both":                "localhost:" + port + "/2",
			"the same connection": servers[0].Addr() + "/0",
		} {
			q := &redigolock.Quorum{OpTimeout: 5 * time.Second}
			for _, at := range []string{servers[0].Addr() + "/0", servers[1].Addr() + "/0", second} {
				p, err := redigolock.NewPool("redis://app:pw@" + at)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				q.Pools = append(q.Pools, p)
			}
			k, err := q.TryAcquire(bg, "key", quorumTTL)
			sameKey := name == "another name" || name == "the same connection"
			switch refused := errors.Is(err, redigolock.ErrInvalid); {
			case refused != (info == "+info" || sameKey):
				t.Errorf("%s; %s: %v", name, info, err)
			case !refused && err != nil:
				t.Errorf("%s; %s: %v", name, info, err)
			case !refused:
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			}
			q.Close()
			for _, s := range servers {
				if n, err := redis.Int(s.Do("DBSIZE")); err != nil || n != 0 {
					t.Errorf("%s; %s: %d keys are left, %v", name, info, n, err)
				}
			}
		}
	}
}
