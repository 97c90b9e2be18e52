package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Conn is a connection to a cluster: to the node of one slot at a time, which it keeps until another slot is asked for. It is for
// one goroutine, but what is under way may be cut from another.
//
// What was sent makes an exchange with the Flush, Do or Receive that follows. Its first key says where it goes. After a command that
// subscribes, the connection stays at its node, and redirects come back as errors.
type Conn struct {
	c     *Cluster
	own   bool   // its connections are dialled, and not lent by the pools
	lanes *Lanes // its connections are shared; nil: they are not
	slot  int    // of Bind; −1: not bound
	bound wire.Bound
	raw   bool // subscribed: all goes to the node as it is
	tx    bool // inside of WATCH or MULTI, which are the node's

	sent    []wire.Request
	replies []any // not received yet

	mu   sync.Mutex // protects what follows, which another goroutine reads to cut it
	conn redis.Conn // nil: none yet, or none any more
	node *node
	err  error // it is broken, or closed
}

// Conn returns a connection, which borrows from the pools when it knows where it must lead. One that is its user's own dials.
func (c *Cluster) Conn(own bool) *Conn { return &Conn{c: c, own: own, slot: -1} }

// NoConn returns a connection that was not to be had.
func NoConn(err error) *Conn { return &Conn{err: err, slot: -1} }

var (
	errClosedConn = errors.New("cluster: the connection was closed")
	errNothing    = errors.New("cluster: nothing was sent that is still to be received")
)

// Close gives the connection to the node back.
func (x *Conn) Close() error {
	x.let()
	x.breaks(errClosedConn)
	return nil
}

// let gives the connection to the node back.
func (x *Conn) let() {
	x.mu.Lock()
	conn := x.conn
	x.conn, x.node, x.tx = nil, nil, false
	x.mu.Unlock()
	if conn != nil {
		if x.raw {
			wire.Cut(conn) // redigo's pool would lend it though it is subscribed
		}
		_ = conn.Close()
	}
}

// Dialect is that of the node that the connection leads to; nil: it leads to none yet.
func (x *Conn) Dialect() *wire.Dialect {
	if x.node == nil {
		return nil
	}
	return &x.node.says
}

// Err is not nil when the connection cannot be used any more.
func (x *Conn) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil && x.conn != nil {
		return x.conn.Err()
	}
	return x.err
}

// breaks makes the connection useless.
func (x *Conn) breaks(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		x.err = err
	}
}

// Bind has the connection lead to the node of the keys, which must be in one slot. It borrows or dials, for some seconds at most.
func (x *Conn) Bind(keys ...string) error { return x.BindContext(context.Background(), keys...) }

// BindContext is Bind that ends with ctx.
func (x *Conn) BindContext(ctx context.Context, keys ...string) error {
	slot := x.slot
	for _, key := range keys {
		s := names.Slot(key)
		if slot >= 0 && s != slot {
			return fmt.Errorf("%w: bind %s: it is in another slot than the key before", fault.Invalid, fault.Quote(key))
		}
		slot = s
	}
	if err := x.Err(); err != nil {
		return err
	}
	x.slot = slot
	return x.reach(ctx, slot)
}

// reach gets a connection to the node of the slot, if there is none.
func (x *Conn) reach(ctx context.Context, slot int) error {
	if x.conn != nil && (slot < 0 || x.tx || x.c.owners[slot].Load() == x.node) {
		return nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, unboundedMost)
		defer cancel()
	}
	for {
		n, err := x.c.owner(ctx, slot)
		if err == nil {
			err = x.lead(ctx, n)
		}
		if err == nil || n == nil || !n.gone() || ctx.Err() != nil {
			return err
		}
	}
}

// lead has the connection lead to a node.
func (x *Conn) lead(ctx context.Context, n *node) error {
	if x.conn != nil && x.node == n {
		return nil
	}
	x.let() // first: who holds one and waits for another may wait for ever
	conn, err := x.borrow(ctx, n)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.conn, x.node = conn, n
	x.mu.Unlock()
	return nil
}

// borrow gets a connection to a node.
func (x *Conn) borrow(ctx context.Context, n *node) (redis.Conn, error) {
	if x.lanes != nil {
		return x.lanes.at(n)
	}
	return n.borrow(ctx, x.own)
}
