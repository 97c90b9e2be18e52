package sentinel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sentinel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("connection refused")

// A world is servers and Sentinels in memory.
type world struct {
	t       *testing.T
	mu      sync.Mutex // protects all that follows, also of the servers
	servers map[string]*server
	dials   int // of the master's
}

// A server is a Redis server, or a Sentinel if it names a master.
type server struct {
	w      *world
	role   string
	names  string // host port
	epoch  int
	refuse redis.Error // what it says to all; "": nothing
	down   bool
	hangs  bool // takes connections and answers nothing
	asked  int
	conns  map[*conn]bool
}

var sentinels = []string{"s1:26379", "s2:26379", "s3:26379"}

// newWorld has three Sentinels that name a as the master, which b and c follow.
func newWorld(t *testing.T) *world {
	w := &world{t: t, servers: map[string]*server{}}
	for _, addr := range sentinels {
		w.servers[addr] = &server{w: w, role: "sentinel", names: "a 6379"}
	}
	for addr, role := range map[string]string{"a:6379": "master", "b:6379": "slave", "c:6379": "slave"} {
		w.servers[addr] = &server{w: w, role: role}
	}
	for _, s := range w.servers {
		s.conns = map[*conn]bool{}
	}
	return w
}

// inBubble runs f in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// set changes servers.
func (w *world) set(change func(s *server), addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range addrs {
		s := w.servers[addr]
		change(s)
		for c := range s.conns {
			if s.down {
				c.Break(io.EOF)
			}
		}
	}
}

func down(s *server) { s.down = true }
func hang(s *server) { s.hangs = true }
func up(s *server)   { s.down, s.hangs = false, false }
func plays(role string) func(*server) {
	return func(s *server) { s.role = role }
}
func tells(names string, epoch int) func(*server) {
	return func(s *server) { s.names, s.epoch = names, epoch }
}

// promote has the Sentinels name another master, and tell those that listen.
func (w *world) promote(host string, epoch int, sentinels ...string) {
	w.set(plays("master"), host+":6379")
	w.set(tells(host+" 6379", epoch), sentinels...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range sentinels {
		for c := range w.servers[addr].conns {
			if c.listens && !w.servers[addr].hangs {
				c.Push([]any{[]byte("message"), []byte("+switch-master"), []byte("locks x 1 " + host + " 6379")})
			}
		}
	}
}

func (w *world) listening() (addrs []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range sentinels {
		for c := range w.servers[addr].conns {
			if c.listens {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

func (w *world) count(f func(s *server) int, addrs ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range addrs {
		n += f(w.servers[addr])
	}
	return n
}

// dial honours ctx as redigo does: until it is connected.
func (w *world) dial(ctx context.Context, addr string) (redis.Conn, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.servers[addr]
	if s == nil {
		return nil, fmt.Errorf("%s: no such host", addr)
	}
	if s.down {
		return nil, errRefused
	}
	if s.role != "sentinel" {
		w.dials++
	}
	c := &conn{s: s, addr: addr}
	c.FakeConn = redistest.NewFakeConn(c.answer)
	s.conns[c] = true
	return c, nil
}

// group has Sentinels that are asked in the order of addrs.
func (w *world) group(watch bool, addrs ...string) *sentinel.Group {
	if len(addrs) == 0 {
		addrs = sentinels
	}
	g := sentinel.New(sentinel.Env{
		Addrs: addrs, Master: "locks", Dial: w.dial, DialSentinel: w.dial, Watch: watch,
	})
	w.t.Cleanup(g.Close)
	return g
}

// A conn is a connection to a server of a world.
type conn struct {
	*redistest.FakeConn
	s       *server
	addr    string
	listens bool // world.mu protects it, and answers
	answers int
}

func (c *conn) Close() error {
	c.s.w.mu.Lock()
	delete(c.s.conns, c)
	c.s.w.mu.Unlock()
	return c.FakeConn.Close()
}

func (c *conn) answer(cmd string, _ []any) any {
	s := c.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.asked++
	bulk := func(text string) []byte { return []byte(text) }
	host, port, _ := strings.Cut(s.names, " ")
	switch {
	case s.hangs || cmd == "BLOCK":
		return redistest.Hang
	case s.refuse != "":
		return s.refuse
	case cmd == "ROLE":
		return []any{bulk(s.role)}
	case cmd == "SET" && s.role == "slave":
		return redis.Error("READONLY You can't write against a read only replica.")
	case cmd == "SUBSCRIBE":
		c.listens = true
		return []any{bulk("subscribe"), bulk("+switch-master"), int64(1)}
	case cmd == "PING":
		return []any{bulk("pong"), bulk("")}
	case cmd != "SENTINEL":
		return "OK"
	case s.names == "":
		return redis.Error("ERR No such master with that name")
	}
	c.answers++
	if c.answers%2 == 1 {
		return []any{bulk("name"), bulk("locks"), bulk("config-epoch"), bulk(fmt.Sprint(s.epoch))}
	}
	return []any{bulk(host), bulk(port)}
}
