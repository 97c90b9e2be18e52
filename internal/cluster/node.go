package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/errands"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

const (
	idleMost  = 4 * time.Minute  // most middleboxes drop an idle connection after five
	testAfter = 10 * time.Second // what was idle for so long is tested before it is lent
	// slowDial is how long a dial takes before the map is asked for: the node may have been replaced.
	slowDial = 250 * time.Millisecond
	// cutAfter is how long after a node has lost its slots the connections to it are cut that still wait for replies.
	cutAfter = 250 * time.Millisecond
	// leastTenure is the least time from one restart of a node that is believed to the next.
	leastTenure = 5 * time.Second
)

// A node is a server of the cluster, with its pool.
type node struct {
	c     *Cluster
	addr  string
	pool  *redis.Pool
	dials errands.Group
	life  context.Context // ends when it has no slots any more
	end   context.CancelFunc
	used  atomic.Int64 // when a connection was last borrowed, in ns since 1970
	says  wire.Dialect

	// What was given back no later than that, in ns since 1970, is closed, or tested, before it is lent.
	broken, doubtful atomic.Int64

	away   atomic.Bool  // it did not serve the last command, or could not be asked
	broke  atomic.Bool  // it may have been restarted
	back   atomic.Int64 // how often it served one again after it was away
	begun  atomic.Int64 // when the tenure began, if the node has had one before, in ns since 1970
	tenure atomic.Pointer[chan struct{}]

	mu  sync.Mutex // protects out
	out map[*conn]struct{}
}

func newNode(c *Cluster, addr string) *node {
	n := &node{c: c, addr: addr, out: map[*conn]struct{}{}, dials: errands.Group{Dial: true}}
	n.life, n.end = context.WithCancel(c.life)
	n.used.Store(time.Now().UnixNano())
	n.begin()
	n.pool = &redis.Pool{
		DialContext: n.dial, TestOnBorrowContext: n.test, IdleTimeout: idleMost,
		MaxIdle: c.env.MaxIdle, MaxActive: c.env.MaxActive, Wait: true,
	}
	return n
}

// begin begins a tenure: for so long the node has what it has confirmed.
func (n *node) begin() {
	tenure := make(chan struct{})
	if ended := n.tenure.Swap(&tenure); ended != nil {
		close(*ended)
	}
}

// close is called when the node is not one of the cluster's any more. Who waits for a connection to it looks for another node.
func (n *node) close() {
	n.end()
	_ = n.pool.Close()
	n.dials.Close()
}

// gone reports whether the node is not one of the cluster's any more.
func (n *node) gone() bool { return n.life.Err() != nil }

// borrow lends a connection, until ctx ends. One that is its caller's own is dialled.
func (n *node) borrow(ctx context.Context, own bool) (c redis.Conn, err error) {
	n.used.Store(time.Now().UnixNano())
	if own {
		c, err = n.dial(ctx)
	} else {
		c, err = n.pool.GetContext(ctx)
	}
	if err != nil {
		if c != nil {
			_ = c.Close()
		}
		return nil, err
	}
	return c, nil
}

// dial returns when ctx ends, or the node is gone, whatever the user's Dial does.
func (n *node) dial(ctx context.Context) (redis.Conn, error) {
	slow := time.AfterFunc(slowDial, n.c.Refresh)
	defer slow.Stop()
	limit, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()
	inner, err := n.dials.Fetch(limit, func(ctx context.Context) (redis.Conn, error) { return n.c.env.Dial(ctx, n.addr) })
	if err != nil {
		if ctx.Err() != context.Canceled { // else its caller was impatient
			n.isAway()
		}
		return nil, err
	}
	c := &conn{Conn: inner, node: n}
	n.mu.Lock()
	n.out[c] = struct{}{}
	n.mu.Unlock()
	return c, nil
}

var errDead = errors.New("cluster: the node has broken connections of the same age")

// test is the pool's TestOnBorrowContext. A PING that is not answered leaves half of the time for a connection that works.
func (n *node) test(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	used := lastUsed.UnixNano()
	switch {
	case used <= n.broken.Load():
		return errDead
	case time.Since(lastUsed) < testAfter && used > n.doubtful.Load():
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
		ctx = half
	}
	err := wire.Exchange(ctx, c, []wire.Request{{Cmd: "PING"}}, make([]any, 1)).Err
	if err != nil {
		n.failed(ctx, err)
	}
	return err
}

// failed is told that a connection has broken, or was not answered. Those that are idle may well share its fate. An impatient
// caller's end says nothing about the node.
func (n *node) failed(ctx context.Context, err error) {
	var netErr net.Error
	now := time.Now().UnixNano()
	switch timeout := errors.As(err, &netErr) && netErr.Timeout(); {
	case ctx.Err() != nil && ctx.Err() != context.DeadlineExceeded:
		return
	case timeout || ctx.Err() != nil:
		n.doubtful.Store(now)
	default:
		n.broken.Store(now)
		n.breaks()
	}
	n.isAway()
}

// isAway notes that the node could not be asked, or does not answer, and asks where its slots are.
func (n *node) isAway() {
	n.away.Store(true)
	n.c.Refresh()
}

// breaks notes that the node may have been restarted: a connection has broken, which a dial that fails or an answer that is late does not
// say. Connections to a node in good health may break, too, so that is believed now and then only: all its locks are renewed for it.
func (n *node) breaks() {
	if time.Since(time.Unix(0, n.begun.Load())) >= leastTenure {
		n.broke.Store(true)
	}
}

// answered goes by replies of the node: whether it serves its slots.
func (n *node) answered(replies []any) {
	for _, reply := range replies {
		if re, ok := reply.(redis.Error); ok && servesNot(re) {
			n.breaks()
			n.away.Store(true)
			return
		}
	}
	if n.away.Load() && n.away.CompareAndSwap(true, false) {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		n.back.Add(1)
		if n.broke.Swap(false) && !n.gone() {
			n.begun.Store(time.Now().UnixNano())
			n.begin()
		}
		n.c.isAnother()
	}
}

// servesNot reports whether a node says that it serves no slot for now.
func servesNot(err redis.Error) bool {
	switch fault.Word(fault.Bare(err)) {
	case "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY":
		return true
	}
	return false
}

// cut ends what is under way.
func (n *node) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.out {
		c.cut()
	}
}

// A conn is a connection to a node, which may be cut from another goroutine.
type conn struct {
	redis.Conn
	node *node

	mu     sync.Mutex // held while it is cut, and while it is closed
	closed bool
}

func (c *conn) Close() error {
	c.node.mu.Lock()
	delete(c.node.out, c)
	c.node.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.Conn.Close()
}

func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		wire.Cut(c.Conn)
	}
}

func (c *conn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, timeout, cmd, args...)
}

func (c *conn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, cmd, args...)
}

func (c *conn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, timeout)
}

func (c *conn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}
