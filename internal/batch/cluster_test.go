package batch_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/batch"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// A lock is named by its key.
type lock string

func (k lock) TTL() time.Duration                             { return 10 * time.Second }
func (k lock) Due(now time.Time, _ int) time.Time             { return now }
func (k lock) Lost(now time.Time, _ error) (time.Time, error) { return now.Add(time.Hour), nil }
func (k lock) Judge([]renewal.Vote) error                     { return nil }
func (k lock) Key() string                                    { return string(k) }
func (k lock) AddKeys(args []any) []any                       { return append(args, string(k)) }
func (k lock) Token() any                                     { return "token of " + string(k) }

// A fakeCluster is servers and a map of them, which need not agree.
type fakeCluster struct {
	where     map[string]string // the map
	owner     map[string]string // the truth
	says      map[string]any    // what is said of a key instead
	down      map[string]bool   // servers that cannot be reached
	breaks    map[string]int    // servers whose connections break after so many replies
	sent      map[string][]string
	flushes   map[string]int
	dials     map[string]int
	closes    map[string]int
	tenures   map[string]chan struct{}
	refreshes int
	alone     []string

	conns atomic.Int64
	whole batch.Node
	batch.Nodes
}

func newFakeCluster() *fakeCluster {
	c := &fakeCluster{
		where: map[string]string{}, owner: map[string]string{}, says: map[string]any{}, down: map[string]bool{}, breaks: map[string]int{},
		sent: map[string][]string{}, flushes: map[string]int{}, dials: map[string]int{}, closes: map[string]int{},
	}
	env := batch.Env{
		Dial:      func(context.Context) (redis.Conn, error) { return nil, errors.New("the pool is not to be dialled") },
		Conns:     &c.conns,
		Extension: batch.Extension{Script: &wire.Script{Text: "text", Digest: "digest", Keys: 1}, Most: batch.Most, Keys: 1},
		Apart:     func() bool { return true },
		Another:   func() <-chan struct{} { return nil },
		Alone: func(k batch.Lock, _ time.Duration, _ bool) renewal.Vote {
			c.alone = append(c.alone, k.Key())
			return renewal.Vote{Answered: true, Left: k.TTL()}
		},
	}
	c.whole.Init(env)
	c.Init(env, batch.Map{
		Where: func(key string) string { return c.where[key] },
		Dial: func(_ context.Context, addr string) (redis.Conn, error) {
			c.dials[addr]++
			if c.down[addr] {
				return nil, errors.New("refused")
			}
			return &fakeConn{c: c, addr: addr, left: c.breaks[addr]}, nil
		},
		Redirected: func(string, redis.Error) bool {
			maps.Copy(c.where, c.owner)
			return true
		},
		Refresh: func() { c.refreshes++ },
		Tenure:  func(addr string) <-chan struct{} { return c.tenures[addr] },
	}, &c.whole)
	return c
}

// put has keys be at a server.
func (c *fakeCluster) put(addr string, keys ...string) {
	for _, key := range keys {
		c.where[key], c.owner[key] = addr, addr
	}
}

// extend has the Node of the first key renew all of them, and returns their votes.
func (c *fakeCluster) extend(t *testing.T, keys ...string) (node *batch.Node, votes []renewal.Vote, err error) {
	t.Helper()
	node, ok := c.Of(keys[0]).(*batch.Node)
	if !ok || node.Apart() {
		t.Fatalf("%s is at no server", keys[0])
	}
	by := time.Now().Add(time.Second)
	if err := node.Ready(context.Background(), by); err != nil {
		return node, nil, err
	}
	var asks []renewal.Ask
	for _, key := range keys {
		asks = append(asks, renewal.Ask{Lease: lock(key)})
	}
	err = node.Extend(context.Background(), by, asks)
	for _, a := range asks {
		votes = append(votes, a.Vote)
	}
	return node, votes, err
}

// A fakeConn is a connection to a server.
type fakeConn struct {
	c       *fakeCluster
	addr    string
	left    int // replies until it breaks; 0: it does not
	replies []any
	err     error
}

func (f *fakeConn) Close() error { f.c.closes[f.addr]++; return nil }
func (f *fakeConn) Err() error   { return f.err }

func (f *fakeConn) Do(cmd string, args ...any) (any, error) {
	if err := f.Send(cmd, args...); err != nil {
		return nil, err
	}
	if err := f.Flush(); err != nil {
		return nil, err
	}
	return f.Receive()
}

func (f *fakeConn) Send(_ string, args ...any) error {
	key := args[2].(string)
	f.c.sent[f.addr] = append(f.c.sent[f.addr], key)
	reply, ok := f.c.says[key]
	switch {
	case ok:
	case f.c.owner[key] != f.addr:
		reply = redis.Error("MOVED 1 " + f.c.owner[key])
	default:
		reply = int64(1)
	}
	f.replies = append(f.replies, reply)
	return nil
}

func (f *fakeConn) Flush() error { f.c.flushes[f.addr]++; return nil }

func (f *fakeConn) Receive() (any, error) {
	if f.left > 0 {
		if f.left--; f.left == 0 {
			f.err = errors.New("it broke")
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	reply := f.replies[0]
	f.replies = f.replies[1:]
	if re, ok := reply.(redis.Error); ok {
		return nil, re
	}
	return reply, nil
}

func (f *fakeConn) DoWithTimeout(_ time.Duration, cmd string, args ...any) (any, error) {
	return f.Do(cmd, args...)
}
func (f *fakeConn) ReceiveWithTimeout(time.Duration) (any, error) { return f.Receive() }
func (f *fakeConn) DoContext(_ context.Context, cmd string, args ...any) (any, error) {
	return f.Do(cmd, args...)
}
func (f *fakeConn) ReceiveContext(context.Context) (any, error) { return f.Receive() }

func isRenewed(v renewal.Vote) bool { return v.Answered && v.Err == nil && v.Left > 0 && v.At == nil }

// isSent says that a vote does nothing but send the lock elsewhere.
func isSent(v renewal.Vote, to renewal.Node) bool { return v == renewal.Vote{At: to} }

// The locks of a server travel in one pipeline, a request for each, on one connection that is dialled once.
func TestLocksOfAServerTravelTogether(t *testing.T) {
	c := newFakeCluster()
	c.put("a", "1", "2", "3")
	c.put("b", "4")
	for range 2 {
		_, votes, err := c.extend(t, "1", "2", "3")
		if err != nil || slices.ContainsFunc(votes, func(v renewal.Vote) bool { return !isRenewed(v) }) {
			t.Errorf("%v, %v", votes, err)
		}
	}
	if !slices.Equal(c.sent["a"], []string{"1", "2", "3", "1", "2", "3"}) || c.flushes["a"] != 2 || c.dials["a"] != 1 || c.conns.Load() != 1 {
		t.Errorf("sent %v in %d flushes on %d connections", c.sent["a"], c.flushes["a"], c.dials["a"])
	}
	if a, b := c.Of("1"), c.Of("4"); a == b || a != c.Of("2") {
		t.Errorf("%p, %p, %p", a, b, c.Of("2"))
	}
}

// MOVED for some of a pipeline: the others are renewed, and these go over to the server that is named.
func TestMovedForSome(t *testing.T) {
	c := newFakeCluster()
	c.put("a", "1", "2", "3")
	c.put("b", "4")
	c.owner["2"] = "b"
	_, votes, err := c.extend(t, "1", "2", "3")
	if err != nil || !isRenewed(votes[0]) || !isSent(votes[1], c.Of("4")) || !isRenewed(votes[2]) {
		t.Errorf("%v, %v", votes, err)
	}
	if c.refreshes != 0 {
		t.Errorf("MOVED has mended the map, which was asked for %d times", c.refreshes)
	}
}

// MOVED to the server that says so: its connection leads to another than its address does by now.
func TestMovedToItself(t *testing.T) {
	c := newFakeCluster()
	c.put("a", "1")
	c.says["1"] = redis.Error("MOVED 1 a")
	node, votes, err := c.extend(t, "1")
	if err != nil || !isSent(votes[0], &c.whole) || c.closes["a"] != 1 || c.conns.Load() != 0 {
		t.Errorf("%v, %v; it was closed %d times", votes, err, c.closes["a"])
	}
	if v := c.whole.ExtendAlone(lock("1"), time.Second, false); v.Err != nil || v.At != renewal.Node(node) {
		t.Errorf("it does not come back: %v", v)
	}
}

// While a slot moves, its locks are renewed one by one where redirects are followed, and come back.
func TestSlotThatMoves(t *testing.T) {
	for _, reply := range []redis.Error{"ASK 1 b", "TRYAGAIN later"} {
		c := newFakeCluster()
		c.put("a", "1", "2")
		c.says["2"] = reply
		node, votes, err := c.extend(t, "1", "2")
		if err != nil || !isRenewed(votes[0]) || !isSent(votes[1], &c.whole) {
			t.Errorf("%s: %v, %v", reply, votes, err)
		}
		if v := c.whole.ExtendAlone(lock("2"), time.Second, false); v.Err != nil || v.At != renewal.Node(node) || !slices.Equal(c.alone, []string{"2"}) {
			t.Errorf("%s: %v, renewed for themselves: %v", reply, v, c.alone)
		}
	}
}

// A server that breaks or cannot be reached has the map be asked for, and what it has answered counts.
func TestServerThatFails(t *testing.T) {
	c := newFakeCluster()
	c.put("a", "1", "2", "3")
	c.breaks["a"] = 2
	_, votes, err := c.extend(t, "1", "2", "3")
	if err == nil || !isRenewed(votes[0]) || votes[1] != (renewal.Vote{}) || c.refreshes != 1 {
		t.Errorf("%v, %v, %d refreshes", votes, err, c.refreshes)
	}
	c.down["a"] = true
	if _, _, err := c.extend(t, "1"); err == nil || c.conns.Load() != 0 {
		t.Errorf("%v, %d connections", err, c.conns.Load())
	}
	node := c.Of("1")
	if node.Elsewhere(lock("1")) != nil {
		t.Error("the map says that it is there")
	}
	c.put("b", "1")
	if to := node.Elsewhere(lock("1")); to == nil || to != c.Of("1") || node.Elsewhere(lock("2")) != nil {
		t.Errorf("the replica has taken over: %v", to)
	}
}

// What the cluster cannot serve for now is an answer, to be tried again, and the map is asked for.
func TestClusterThatIsDown(t *testing.T) {
	c := newFakeCluster()
	c.put("a", "1")
	c.says["1"] = redis.Error("CLUSTERDOWN The cluster is down")
	_, votes, err := c.extend(t, "1")
	if err != nil || !votes[0].Answered || votes[0].Err == nil || votes[0].At != nil || c.refreshes != 1 {
		t.Errorf("%v, %v, %d refreshes", votes, err, c.refreshes)
	}
}

// A slot that no server is known for is renewed where redirects are followed, until there is one.
func TestSlotThatNobodyHas(t *testing.T) {
	c := newFakeCluster()
	if c.Of("1") != renewal.Node(&c.whole) || c.refreshes == 0 {
		t.Errorf("it is at %v; %d refreshes", c.Of("1"), c.refreshes)
	}
	if v := c.whole.ExtendAlone(lock("1"), time.Second, false); v.At != renewal.Node(&c.whole) {
		t.Errorf("it goes to %v", v.At)
	}
	c.put("a", "1")
	if v := c.whole.ExtendAlone(lock("1"), time.Second, false); v.At != c.Of("1") || v.At == renewal.Node(&c.whole) {
		t.Errorf("it stays at %v", v.At)
	}
}

// A server without locks is forgotten, and its connection closed.
func TestServerWithoutLocks(t *testing.T) {
	c := newFakeCluster()
	c.put("a", "1")
	node, _, _ := c.extend(t, "1")
	node.Close()
	if c.closes["a"] != 1 || c.conns.Load() != 0 || c.Of("1") == renewal.Node(node) {
		t.Errorf("closed %d times; %d connections", c.closes["a"], c.conns.Load())
	}
	if to := node.Elsewhere(lock("1")); to != c.Of("1") {
		t.Errorf("a lock that comes late stays with it: %v", to)
	}
}
