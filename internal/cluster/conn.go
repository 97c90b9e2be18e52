package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Conn is a connection to a cluster: to the node of one slot at a time, which it keeps until another slot is asked for. It is for
// one goroutine, but what is under way may be cut from another.
//
// What was sent makes an exchange with the Flush, Do or Receive that follows. Its first key says where it goes. After a command that
// subscribes, the connection stays at its node, and redirects come back as errors.
type Conn struct {
	c     *Cluster
	own   bool // its connections are dialled, and not lent by the pools
	slot  int  // of Bind; −1: not bound
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
		s := Slot(key)
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
	conn, err := n.borrow(ctx, x.own)
	if err != nil {
		x.c.Refresh()
		return err
	}
	x.mu.Lock()
	x.conn, x.node = conn, n
	x.mu.Unlock()
	return nil
}

// Exchange sends the requests and reads their replies: see [wire.Carrier]. As far as they are redirected they go to another node.
func (x *Conn) Exchange(ctx context.Context, now, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	slot, err := x.slotOf(reqs)
	if err != nil {
		return wire.Result{Err: err}
	}
	for i := range reqs {
		reqs[i].Script = nil // its text may have to go elsewhere than to the node that does not know it
	}
	limit := ctx
	if !by.IsZero() {
		var cancel context.CancelFunc
		limit, cancel = context.WithDeadline(ctx, by)
		defer cancel()
	}
	if err := x.reach(limit, slot); err != nil {
		return wire.Result{Err: err}
	}
	res := x.exchange(ctx, by, reqs, replies)
	first := 0
	for hop := 0; res.Err == nil && hop < hopsMost; hop++ {
		i, r, ok := x.redirected(reqs, replies, first)
		if !ok {
			break
		}
		next, err := x.follow(ctx, limit, by, r, reqs[i:], replies[i:])
		if err != nil && i == 0 {
			return wire.Result{Err: err}
		}
		if err != nil {
			break // what was refused stands beside what was carried out
		}
		res = wire.Result{Answered: i + next.Answered, Sent: next.Sent || i > 0, Err: next.Err}
		first = i
	}
	if res.Err == nil {
		x.judge(reqs, replies)
	}
	return res
}

// slotOf is the slot that an exchange goes to: that of its first key, which must be that of Bind; −1: there is none.
func (x *Conn) slotOf(reqs []wire.Request) (int, error) {
	for i := range reqs {
		key, ok := keyOf(reqs[i].Cmd, reqs[i].Args)
		if !ok {
			continue
		}
		slot := Slot(key)
		if x.slot >= 0 && x.slot != slot {
			return 0, fmt.Errorf("%w: %s %s: it is in another slot than the key that the connection is bound to",
				fault.Invalid, reqs[i].Cmd, fault.Quote(key))
		}
		for _, other := range scriptKeys(reqs[i].Cmd, reqs[i].Args) {
			if other := argument(other); Slot(other) != slot {
				return 0, fmt.Errorf("%w: %s %s: it is in another slot than %s: give both a hash tag, as in {x}a and {x}b",
					fault.Invalid, reqs[i].Cmd, fault.Quote(other), fault.Quote(key))
			}
		}
		return slot, nil
	}
	return x.slot, nil
}

// exchange is one with the node that the connection leads to.
func (x *Conn) exchange(ctx context.Context, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	res := exchangeOn(ctx, &x.bound, x.conn, by, reqs, replies)
	if res.Err != nil && res.Sent {
		x.node.failed(ctx, res.Err)
	}
	return res
}

// exchangeOn is one on a connection to a node.
func exchangeOn(ctx context.Context, b *wire.Bound, c redis.Conn, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	if by.IsZero() {
		return wire.Exchange(ctx, c, reqs, replies)
	}
	b.Conn = c
	now := time.Now()
	b.Begin(now, by, by.Sub(now))
	return wire.Exchange(ctx, b, reqs, replies)
}

// redirected finds the requests that a node did not serve: reqs[i:], of which it has redirected the first. They may go to another
// node only if none of them was carried out: else the replies stand. A transaction is its node's, and is not led elsewhere, but for a
// WATCH that begins one.
func (x *Conn) redirected(reqs []wire.Request, replies []any, first int) (i int, r redirect, ok bool) {
	for i = first; i < len(reqs); i++ {
		if r, ok = redirectOf(replies[i], x.node.addr); ok {
			break
		}
	}
	if !ok || x.tx {
		return i, r, false
	}
	for j := i; j < len(reqs); j++ {
		kind := kindOf(reqs[j].Cmd)
		if !unserved(replies[j]) && kind != harmless && kind != unwatch || inTransaction(kind) || kind == watch && r.ask {
			return i, r, false
		}
	}
	return i, r, true
}

// unserved reports whether a node says that it did not carry out a command, which another one may.
func unserved(reply any) bool {
	re, ok := reply.(redis.Error)
	if !ok {
		return false
	}
	word := fault.Word(re)
	return word == "ASK" || word == "NOSCRIPT" || word == "LOADING" || stirs(re)
}

// follow repeats requests that were redirected. An error says that this was not begun.
func (x *Conn) follow(ctx, limit context.Context, by time.Time, r redirect, reqs []wire.Request, replies []any) (res wire.Result, err error) {
	from := x.node
	to, err := x.c.heed(from, r)
	switch {
	case err != nil:
		return res, err
	case r.ask:
		return x.ask(ctx, limit, by, to, reqs, replies)
	case to == from:
		x.dropStale()
	}
	if err := x.lead(limit, to); err != nil {
		return res, err
	}
	res = x.exchange(ctx, by, reqs, replies)
	if res.Err != nil && !res.Sent && res.Answered == 0 {
		return res, res.Err
	}
	return res, nil
}

// dropStale is for a slot that was moved to the address of its node: another server is there by now, and must be dialled.
func (x *Conn) dropStale() {
	x.node.broken.Store(time.Now().UnixNano())
	wire.Cut(x.conn)
	x.let()
}

// ask sends the requests to a node that imports the slot. ASKING holds for one command.
func (x *Conn) ask(ctx, limit context.Context, by time.Time, to *node, reqs []wire.Request, replies []any) (res wire.Result, err error) {
	conn, err := to.borrow(limit, x.own)
	if err != nil {
		x.c.Refresh()
		return res, err
	}
	defer conn.Close()
	all, answers := make([]wire.Request, 0, 2*len(reqs)), make([]any, 2*len(reqs))
	for _, r := range reqs {
		all = append(all, wire.Request{Cmd: "ASKING"}, r)
	}
	var b wire.Bound
	res = exchangeOn(ctx, &b, conn, by, all, answers)
	res.Answered /= 2
	for i := range res.Answered {
		replies[i] = answers[2*i+1]
	}
	switch {
	case res.Err != nil && res.Sent:
		to.failed(ctx, res.Err)
		x.breaks(res.Err)
	case res.Err != nil && res.Answered == 0:
		return res, res.Err
	}
	return res, nil
}

// judge goes by what was answered.
func (x *Conn) judge(reqs []wire.Request, replies []any) {
	for i := range reqs {
		re, refused := replies[i].(redis.Error)
		if refused && stirs(re) {
			x.c.Refresh()
		}
		switch kind := kindOf(reqs[i].Cmd); {
		case kind == execute && refused:
			x.tx = x.tx && fault.Word(re) == "ERR" // without MULTI: a WATCH still holds. Any other refusal ends the transaction
		case refused:
		case kind == watch || kind == begin:
			x.tx = true
		case kind == execute || kind == discard || kind == unwatch:
			x.tx = false
		}
	}
}

// stirs reports whether a node says that the cluster changes.
func stirs(err redis.Error) bool {
	switch fault.Word(fault.Bare(err)) {
	case "MOVED", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY":
		return true
	}
	return false
}

// Send keeps a command for the exchange.
func (x *Conn) Send(cmd string, args ...any) error {
	if err := x.Err(); err != nil {
		return err
	}
	if kindOf(cmd) == subscribe && !x.raw {
		if err := x.subscribe(cmd, args); err != nil {
			return err
		}
	}
	if x.raw {
		return x.conn.Send(cmd, args...)
	}
	x.sent = append(x.sent, wire.Request{Cmd: cmd, Args: slices.Clone(args)})
	return nil
}

// subscribe turns the connection to one of redigo's, to the node of the first channel.
func (x *Conn) subscribe(cmd string, args []any) error {
	if len(x.sent)+len(x.replies) > 0 {
		return fmt.Errorf("%w: cluster: %s behind commands that were not answered", fault.Unsupported, cmd)
	}
	slot, err := x.slotOf([]wire.Request{{Cmd: cmd, Args: args}})
	if err == nil {
		err = x.reach(context.Background(), slot)
	}
	x.raw = err == nil
	return err
}

// Flush carries out what was sent.
func (x *Conn) Flush() error { return x.FlushWithTimeout(0) }

// FlushWithTimeout is Flush, which takes as long as an exchange does.
func (x *Conn) FlushWithTimeout(timeout time.Duration) error {
	switch {
	case x.raw:
		return x.conn.Flush()
	case len(x.sent) == 0:
		return x.Err()
	}
	return x.flush(context.Background(), timeout)
}

func (x *Conn) flush(ctx context.Context, timeout time.Duration) error {
	if err := x.Err(); err != nil {
		return err
	}
	reqs := x.sent
	x.sent = nil
	replies := make([]any, len(reqs))
	now, by := time.Time{}, time.Time{}
	if timeout > 0 {
		now = time.Now()
		by = now.Add(timeout)
	}
	res := x.Exchange(ctx, now, by, reqs, replies)
	x.replies = append(x.replies, replies[:res.Answered]...)
	if res.Err != nil && res.Sent {
		x.breaks(res.Err)
	}
	return res.Err
}

// Receive returns the reply to the oldest of what was sent.
func (x *Conn) Receive() (any, error) { return x.receive(context.Background(), 0) }

// ReceiveWithTimeout is Receive.
func (x *Conn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	if x.raw {
		return redis.ReceiveWithTimeout(x.conn, timeout)
	}
	return x.receive(context.Background(), timeout)
}

// ReceiveContext is Receive that ends with ctx. If ctx has ended before, it cuts what is under way, also on another goroutine.
func (x *Conn) ReceiveContext(ctx context.Context) (any, error) {
	if err := ctx.Err(); err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.err == nil {
			x.err = err
		}
		if x.conn != nil {
			wire.Cut(x.conn)
		}
		return nil, err
	}
	if x.raw {
		return redis.ReceiveContext(x.conn, ctx)
	}
	return x.receive(ctx, 0)
}

func (x *Conn) receive(ctx context.Context, timeout time.Duration) (any, error) {
	if x.raw {
		return x.conn.Receive()
	}
	if len(x.replies) == 0 && len(x.sent) > 0 {
		if err := x.flush(ctx, timeout); err != nil && len(x.replies) == 0 {
			return nil, err
		}
	}
	if len(x.replies) == 0 {
		if err := x.Err(); err != nil {
			return nil, err
		}
		return nil, errNothing
	}
	reply := x.replies[0]
	x.replies = x.replies[1:]
	if re, ok := reply.(redis.Error); ok {
		return nil, re
	}
	return reply, nil
}

// Do carries out what was sent and the command, and returns the reply to that. An error of what was sent comes back, too. Without a
// command it returns all replies.
func (x *Conn) Do(cmd string, args ...any) (any, error) {
	return x.do(context.Background(), 0, cmd, args)
}

// DoWithTimeout is Do.
func (x *Conn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	return x.do(context.Background(), timeout, cmd, args)
}

// DoContext is Do that ends with ctx.
func (x *Conn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	reply, err := x.do(ctx, 0, cmd, args)
	if err != nil && ctx.Err() != nil {
		if _, isReply := err.(redis.Error); !isReply {
			err = ctx.Err()
		}
	}
	return reply, err
}

func (x *Conn) do(ctx context.Context, timeout time.Duration, cmd string, args []any) (any, error) {
	if err := x.Err(); err != nil {
		return nil, err
	}
	if kindOf(cmd) == subscribe && !x.raw {
		if err := x.subscribe(cmd, args); err != nil {
			return nil, err
		}
	}
	if x.raw {
		return x.conn.Do(cmd, args...)
	}
	if cmd != "" {
		x.sent = append(x.sent, wire.Request{Cmd: cmd, Args: args})
	}
	if len(x.sent) > 0 {
		if err := x.flush(ctx, timeout); err != nil {
			return nil, err
		}
	}
	replies := x.replies
	x.replies = nil
	if cmd == "" {
		return replies, nil
	}
	var err error
	for _, reply := range replies {
		if re, ok := reply.(redis.Error); ok && err == nil {
			err = re
		}
	}
	return replies[len(replies)-1], err
}
