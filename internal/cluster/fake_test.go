package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	bg         = context.Background()
	errRefused = errors.New("connection refused")
)

// A world is a cluster in memory. Slots are shared out in its truth; what a node says of that may differ.
type world struct {
	t         *testing.T
	mu        sync.Mutex // protects all that follows, also of the nodes
	servers   map[string]*server
	truth     func(slot int) string
	importing map[int]string // slots that are being moved, and where to
	dials     map[string]int
}

// A server is a node.
type server struct {
	w       *world
	addr    string
	state   string
	epoch   int
	slots   []any
	noSlots bool // it has no CLUSTER SLOTS
	noInfo  bool // the user may not ask for CLUSTER INFO
	down    bool
	refuses bool // connections
	hangs   bool // takes connections and answers nothing
	scripts map[string]bool
	store   map[string]string
	answer  func(cmd string, args []any) any // what it says to all but CLUSTER; nil: what a server does
	log     []string
	maps    int // how often it was asked for the map
	conns   map[*fakeConn]bool
}

const slotsAt = names.Slots / 3

// newWorld has three masters, a, b and c, each of a third of the slots, and an empty node d.
func newWorld(t *testing.T) *world {
	w := &world{t: t, servers: map[string]*server{}, dials: map[string]int{}, importing: map[int]string{}}
	for _, addr := range []string{"a:1", "b:1", "c:1", "d:1"} {
		w.servers[addr] = &server{w: w, addr: addr, state: "ok", epoch: 1, store: map[string]string{}, scripts: map[string]bool{},
			conns: map[*fakeConn]bool{}}
	}
	w.share(func(slot int) string { return []string{"a:1", "b:1", "c:1"}[min(slot/slotsAt, 2)] }, 1)
	return w
}

// share gives the slots to their owners, and has these nodes, or all, say so, with that epoch.
func (w *world) share(truth func(slot int) string, epoch int, told ...string) {
	w.truth = truth
	w.tell(truth, epoch, told...)
}

// tell has nodes say something about the slots.
func (w *world) tell(truth func(slot int) string, epoch int, told ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slots := slotsReply(truth)
	for addr, s := range w.servers {
		for _, to := range append(told, addr)[:max(len(told), 1)] {
			if to == addr {
				s.slots, s.epoch = slots, epoch
			}
		}
	}
}

func slotsReply(truth func(slot int) string) (slots []any) {
	from := 0
	for i := 1; i <= names.Slots; i++ {
		if i < names.Slots && truth(i) == truth(from) {
			continue
		}
		if host, port, _ := strings.Cut(truth(from), ":"); host != "" {
			n, _ := strconv.ParseInt(port, 10, 64)
			slots = append(slots, []any{int64(from), int64(i - 1), []any{bulk(host), n, bulk("id")}})
		}
		from = i
	}
	return slots
}

// all gives every slot to one node.
func all(addr string) func(int) string { return func(int) string { return addr } }

// set changes nodes. The connections to what is down break.
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

func (w *world) dial(ctx context.Context, addr string) (redis.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials[addr]++
	s := w.servers[addr]
	if s == nil || s.down || s.refuses {
		return nil, errRefused
	}
	c := &fakeConn{s: s}
	c.FakeConn = redistest.NewFakeConn(func(cmd string, args []any) any { return s.reply(c, cmd, args) })
	s.conns[c] = true
	return c, nil
}

// cluster knows node a.
func (w *world) cluster(change ...func(*Env)) *Cluster {
	env := Env{Addrs: []string{"a:1"}, Dial: w.dial, MaxIdle: 8, MaxActive: 64}
	for _, f := range change {
		f(&env)
	}
	c := New(env)
	w.t.Cleanup(c.Close)
	return c
}

// heard is what a node was sent, but for questions about the map.
func (w *world) heard(addr string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.servers[addr].log, ", ")
}

// maps is how often all nodes were asked for the map.
func (w *world) maps() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.servers {
		n += s.maps
	}
	return n
}

// inBubble runs f in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// A fakeConn is a connection to a server.
type fakeConn struct {
	*redistest.FakeConn
	s      *server
	asking bool
}

func (c *fakeConn) Close() error {
	c.s.w.mu.Lock()
	delete(c.s.conns, c)
	c.s.w.mu.Unlock()
	return c.FakeConn.Close()
}

func (s *server) reply(c *fakeConn, cmd string, args []any) any {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch {
	case s.hangs:
		return redistest.Hang
	case cmd == "CLUSTER":
		return s.cluster(fmt.Sprint(args[0]))
	}
	asking := c.asking
	c.asking = cmd == "ASKING"
	entry := cmd
	if key, ok := keyOf(cmd, args); ok {
		entry += " " + key
	}
	s.log = append(s.log, entry)
	switch {
	case s.answer != nil:
		if reply := s.answer(cmd, args); reply != nil {
			return reply
		}
	}
	key, ok := keyOf(cmd, args)
	if !ok {
		return "OK"
	}
	slot := names.Slot(key)
	_, has := s.store[key]
	to, moves := s.w.importing[slot]
	switch {
	case moves && to == s.addr && asking:
	case s.w.truth(slot) != s.addr:
		return redis.Error(fmt.Sprintf("MOVED %d %s", slot, s.w.truth(slot)))
	case moves && !has:
		return redis.Error(fmt.Sprintf("ASK %d %s", slot, to))
	}
	return s.carryOut(cmd, key, args)
}

func (s *server) carryOut(cmd, key string, args []any) any {
	switch cmd {
	case "SET":
		if _, has := s.store[key]; has && len(args) > 2 {
			return nil
		}
		s.store[key] = fmt.Sprint(args[1])
		return "OK"
	case "GET":
		if v, has := s.store[key]; has {
			return bulk(v)
		}
		return nil
	case "INCR":
		n, _ := strconv.Atoi(s.store[key])
		s.store[key] = strconv.Itoa(n + 1)
		return int64(n + 1)
	case "EVALSHA":
		if !s.scripts[fmt.Sprint(args[0])] {
			return redis.Error("NOSCRIPT No matching script. Please use EVAL.")
		}
		return int64(1)
	case "EVAL":
		s.scripts["digest"] = true
		return int64(1)
	}
	return "OK"
}

func (s *server) cluster(sub string) any {
	switch {
	case sub == "INFO" && s.noInfo:
		return redis.Error("NOPERM User app has no permissions to run the 'cluster|info' command")
	case sub == "INFO":
		return bulk(fmt.Sprintf("cluster_enabled:1\r\ncluster_state:%s\r\ncluster_current_epoch:%d\r\n", s.state, s.epoch))
	case sub == "SLOTS" && s.noSlots:
		return redis.Error("ERR unknown subcommand 'SLOTS'. Try CLUSTER HELP.")
	}
	s.maps++
	if sub == "SLOTS" {
		return s.slots
	}
	var shards []any
	for _, r := range s.slots {
		r := r.([]any)
		node := r[2].([]any)
		shards = append(shards, shardOf([]any{r[0], r[1]}, nodeOf("master", "online", bulk("endpoint"), node[0], bulk("port"), node[1])))
	}
	return shards
}
