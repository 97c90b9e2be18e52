package sim_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/sim"
)

// nodes runs f in a bubble with a cluster of two masters, a replica, and a connection to each.
func nodes(t *testing.T, f func(t *testing.T, c *sim.Cluster, conns []redis.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := sim.NewCluster(t, 2)
		c.Join(t)
		var conns []redis.Conn
		for _, s := range c.Nodes {
			conns = append(conns, dial(t, s.Link))
		}
		f(t, c, conns)
	})
}

// says checks what a command is answered: a value, or how an error begins.
func says(t *testing.T, want string, c redis.Conn, cmd string, args ...any) {
	t.Helper()
	got, err := redis.String(c.Do(cmd, args...))
	if err != nil {
		got = err.Error()
	}
	if !strings.HasPrefix(got, want) {
		t.Errorf("%s %v: %q, want %q", cmd, args, got, want)
	}
}

// A command that has come before its slot moves, and is carried out after that, is redirected.
func TestACommandUnderWayIsRedirected(t *testing.T) {
	for name, delay := range map[string]func(s *sim.Server) (goOn func()){
		"pause": func(s *sim.Server) func() { return s.Pause() },
		"late":  func(s *sim.Server) func() { s.Next("set", sim.Late(time.Second)); return func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			nodes(t, func(t *testing.T, c *sim.Cluster, conns []redis.Conn) {
				from := c.Owner("key")
				goOn := delay(c.Nodes[from])
				time.AfterFunc(500*time.Millisecond, func() {
					if err := c.End("key", 1-from); err != nil {
						t.Error(err)
					}
					goOn()
				})
				says(t, "MOVED", conns[from], "SET", "key", "v")
				says(t, "OK", conns[1-from], "SET", "key", "v")
			})
		})
	}
}

// A transaction of which something is redirected carries nothing out, and is over.
func TestTransactionThatIsRedirected(t *testing.T) {
	nodes(t, func(t *testing.T, c *sim.Cluster, conns []redis.Conn) {
		from := c.Owner("key")
		says(t, "OK", conns[from], "MULTI")
		says(t, "QUEUED", conns[from], "SET", "key", "v")
		if err := c.End("key", 1-from); err != nil {
			t.Fatal(err)
		}
		says(t, "MOVED", conns[from], "SET", "key", "v")
		says(t, "EXECABORT", conns[from], "EXEC")
		says(t, "ERR EXEC without MULTI", conns[from], "EXEC")
		says(t, redis.ErrNil.Error(), conns[1-from], "GET", "key")
		if keys := c.Nodes[from].Miniredis().Keys(); len(keys) > 0 {
			t.Errorf("it has carried out %v", keys)
		}
	})
}

// A slot that moves key by key: ASK, one command after ASKING, TRYAGAIN; and what it has left goes with a key.
func TestSlotMovesKeyByKey(t *testing.T) {
	nodes(t, func(t *testing.T, c *sim.Cluster, conns []redis.Conn) {
		from := c.Owner("{key}1")
		old, next := conns[from], conns[1-from]
		says(t, "OK", old, "SET", "{key}1", "v", "PX", 10000)
		says(t, "OK", old, "SET", "{key}2", "w")
		c.Begin("{key}1", 1-from)
		says(t, "v", old, "GET", "{key}1")
		if err := c.Move("{key}1"); err != nil {
			t.Fatal(err)
		}
		says(t, "ASK", old, "GET", "{key}1")
		says(t, "MOVED", next, "GET", "{key}1")
		says(t, "OK", next, "ASKING")
		says(t, "v", next, "GET", "{key}1")
		says(t, "MOVED", next, "GET", "{key}1")
		says(t, "TRYAGAIN", old, "EVAL", "return 1", 2, "{key}1", "{key}2")
		if err := c.End("{key}1", 1-from); err != nil {
			t.Fatal(err)
		}
		says(t, "MOVED", old, "GET", "{key}1")
		says(t, "w", next, "GET", "{key}2")
		time.Sleep(9 * time.Second)
		says(t, "v", next, "GET", "{key}1")
		time.Sleep(time.Second)
		says(t, redis.ErrNil.Error(), next, "GET", "{key}1")
	})
}

// A replica takes over with what it had copied. Its master goes on until it is told, and so do the others.
func TestReplicaTakesOver(t *testing.T) {
	nodes(t, func(t *testing.T, c *sim.Cluster, conns []redis.Conn) {
		const replica = 2
		from := c.Owner("a")
		old, other, next := conns[from], conns[1-from], conns[replica]
		says(t, "OK", old, "SET", "a", "before", "PX", 10000)
		has := c.Nodes[from].Copy()
		time.Sleep(time.Second)
		says(t, "OK", old, "SET", "a", "after", "PX", 20000)
		var lost [2]string
		c.TakeOver(from, replica, has, func(had, has *sim.Copy) {
			lost[0], _ = had.Get("a")
			lost[1], _ = has.Get("a")
		})
		if lost != [2]string{"after", "before"} {
			t.Errorf("the two had %v", lost)
		}
		says(t, "before", next, "GET", "a")
		says(t, "after", old, "GET", "a")
		if c.Serves(from, "a") || !c.Serves(replica, "a") {
			t.Error("it has not taken over")
		}
		says(t, "MOVED 15495 "+c.Addr(from), other, "GET", "a")
		c.Tell(1 - from)
		says(t, "MOVED 15495 "+c.Addr(replica), other, "GET", "a")
		c.Forget(from)
		says(t, "MOVED 15495 "+c.Addr(replica), old, "GET", "a")
		if keys := c.Nodes[from].Miniredis().Keys(); len(keys) > 0 {
			t.Errorf("it has kept %v", keys)
		}
		time.Sleep(9 * time.Second)
		says(t, redis.ErrNil.Error(), next, "GET", "a")
		c.SetDown(replica, true)
		says(t, "CLUSTERDOWN", next, "GET", "a")
	})
}

// What had come to a server that is killed, and was not carried out, is lost.
func TestKill(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		c := dial(t, s.Link)
		must(t)(c.Do("SET", "key", "kept"))
		s.Next("set", sim.Late(time.Second))
		back := make(chan func(), 1)
		time.AfterFunc(500*time.Millisecond, func() { back <- s.Kill() })
		if _, err := c.Do("SET", "key", "lost"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("SET: %v", err)
		}
		if _, err := s.NewLink("other").DialRedis(bg); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a dial: %v", err)
		}
		time.Sleep(time.Second)
		(<-back)()
		says(t, "kept", dial(t, s.Link), "GET", "key")
	})
}
