package redigolock

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/batch"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// A node is one place where the commands of a core go: a pool, as its source. This file is how a func, which is a verb or
// the user's own, is run on a connection to it: within OpTimeout, and asked again where that is allowed.
//
//	ask       for a holder: onLent, and askAgain where the connection breaks
//	onLent    on a connection that the pool lends, which goes back
//	askAgain  onFresh, or over a Mux once more on what that uses by now
//	onFresh   onOwn, as often as a pool that cannot dial lends one that is broken
//	onOwn     on a connection that is not the pool's
//
// Those whose name ends in By end at by, the others an OpTimeout from now on. most bounds what f does, without the wait for a
// connection.
type node struct {
	*core
	source  *pools.Source
	limits  atomic.Pointer[sharedLimit]
	says    wire.Dialect // known of the server
	renew   batch.Node
	renews  [1]renewal.Node // renew
	servers *batch.Nodes    // of a Cluster, that renew what they have; else nil
}

func newNode(c *core, s *pools.Source) *node {
	n := &node{core: c, source: s}
	if s != nil {
		n.says.Init(s.Another)
	}
	n.renews[0] = &n.renew
	return n
}

// ask runs f, which may be carried out twice, for the holder, and returns the time just before the f that was answered
// sent anything. Where the connection breaks, it asks on another one within the same OpTimeout.
func (n *node) ask(ctx context.Context, x *claim, verb string, f func(redis.Conn) error) (time.Time, error) {
	return n.askBy(ctx, x, verb, time.Now().Add(n.opTimeout()), f)
}

// askBy is ask that ends at by.
func (n *node) askBy(ctx context.Context, x *claim, verb string, by time.Time, f func(redis.Conn) error) (time.Time, error) {
	b := &wire.Bound{Key: x.conn.Key, Token: x.conn.Token, TTL: x.conn.TTL}
	start, err := n.onLentBy(ctx, b, verb, x.key, n.host(), by, n.opTimeout(), f)
	if !b.MayAskAgain(ctx, err) {
		return start, err
	}
	n.observer.outcome(ctx, x.key, verb, err)
	start, again := n.askAgain(ctx, b, verb, n.opTimeout(), f)
	if again != nil && !answered(again) {
		return start, fault.Followed(err, "and on another connection: ", again)
	}
	return start, again
}

// answered reports whether err says what the server said, and not that it could not be asked.
func answered(err error) bool {
	return !fault.Transient(err) || errors.Is(err, ErrNotReplicated) && !errors.Is(err, ErrUnknown)
}

// onLent runs f on a connection that the pool lends, and returns the time just before f sent anything. OpTimeout bounds the wait for
// the connection and f together; most bounds f.
func (n *node) onLent(ctx context.Context, b *wire.Bound, verb, key string, most time.Duration, f func(redis.Conn) error) (start time.Time, err error) {
	now := n.host()
	return n.onLentBy(ctx, b, verb, key, now, now.Add(n.opTimeout()), most, f)
}

// onLentBy is onLent that ends at by.
func (n *node) onLentBy(ctx context.Context, b *wire.Bound, verb, key string, now, by time.Time, most time.Duration, f func(redis.Conn) error) (start time.Time, err error) {
	began, err := n.borrow(ctx, b, verb, key, now, by, most)
	if err != nil {
		return start, err
	}
	returned := false
	defer func() { n.giveBack(ctx, b, began, returned, err) }()
	if start = began; n.clock != nil {
		start = n.now()
	}
	err = b.Outcome(ctx, verb, key, f(b))
	returned = true
	return start, err
}

// borrow has the pool lend b a connection before by, and begins the time of what is done on it, which most bounds. Where it returns no
// error, its caller calls giveBack.
func (n *node) borrow(ctx context.Context, b *wire.Bound, verb, key string, now, by time.Time, most time.Duration) (began time.Time, err error) {
	if ctx.Err() != nil {
		return began, fault.Failed(verb, key, fault.OfContext(ctx))
	}
	b.Borrow(n.source.Forgets(), &n.says)
	if err := n.lend(ctx, b, verb, key, now, by); err != nil {
		return began, err
	}
	if ctx.Err() != nil { // it ended meanwhile, and an AcquireFunc of the user's may not look
		err = fault.Failed(verb, key, fault.OfContext(ctx))
		n.giveBack(ctx, b, now, false, err)
		return began, err
	}
	if n.source.LendNow == nil {
		now = n.host()
	}
	b.Begin(now, by, most)
	return now, nil
}

// giveBack gives the connection back. What was done on it since it began has ended with err, or has not returned.
func (n *node) giveBack(ctx context.Context, b *wire.Bound, began time.Time, returned bool, err error) {
	if returned && errors.Is(err, ErrUnknown) && (ctx.Err() == nil || time.Since(began) > n.opTimeout()/4) { // else its caller was impatient
		n.source.Doubt(began)
	}
	b.TakeBack(returned, err)
	n.source.Returned()
}

// lend has the pool lend b a connection before by.
func (n *node) lend(ctx context.Context, b *wire.Bound, verb, key string, now, by time.Time) error {
	limit, cancel := n.limit(ctx, now, by)
	defer cancel()
	err := n.source.Lend(ctx, limit, b, verb, key)
	if err == nil || limit.Err() == nil || ctx.Err() != nil || !time.Now().Before(by) {
		return err
	}
	exact, cancelExact := context.WithDeadline(ctx, by)
	defer cancelExact()
	return n.source.Lend(ctx, exact, b, verb, key)
}

// askAgain runs f again on a connection that was not idle, for as long as is left: a new one, or what the Mux uses by now.
func (n *node) askAgain(ctx context.Context, b *wire.Bound, verb string, most time.Duration, f func(redis.Conn) error) (start time.Time, err error) {
	key, _ := b.Key.(string)
	if n.source.Shares {
		return n.onLentBy(ctx, b, verb, key, n.host(), b.Ends(), most, f)
	}
	token, _ := b.Token.(string)
	err = n.onFresh(ctx, verb, key, token, b.Ends(), most, func(c redis.Conn) error {
		start = n.now()
		return f(c)
	})
	return start, err
}

// onFresh is onOwnBy for an f that may be carried out again. A pool that cannot dial may lend broken connections one after
// the other: then the next is tried.
func (n *node) onFresh(ctx context.Context, verb, key, token string, by time.Time, most time.Duration, f func(redis.Conn) error) error {
	for tries := 1; ; tries++ {
		err := n.onOwnBy(ctx, verb, key, token, by, most, f)
		if n.source.CanDial() || tries == maxStale || !errors.Is(err, ErrUnknown) || ctx.Err() != nil || !time.Now().Before(by) {
			return err
		}
	}
}

// maxStale is how many connections of a pool that cannot dial are tried in a row, one after the other being broken.
const maxStale = 64

// onOwn runs f on a connection that is not the pool's, within an OpTimeout; most bounds f.
func (n *node) onOwn(ctx context.Context, verb, key, token string, most time.Duration, f func(redis.Conn) error) error {
	return n.onOwnBy(ctx, verb, key, token, time.Now().Add(n.opTimeout()), most, f)
}

// onOwnBy is onOwn that ends at by. An error then does not say that the caller's ctx has ended.
func (n *node) onOwnBy(ctx context.Context, verb, key, token string, by time.Time, most time.Duration, f func(redis.Conn) error) error {
	limit, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	b := &wire.Bound{Key: key, Token: token}
	b.Borrow(false, &n.says)
	if err := n.source.LendOwn(ctx, limit, b, verb, key); err != nil {
		return err
	}
	n.conns.Add(1)
	defer n.conns.Add(-1)
	returned := false
	defer func() { b.TakeBack(returned, nil) }()
	b.Begin(time.Now(), by, most)
	err := b.Outcome(ctx, verb, key, f(b))
	returned = true
	return err
}

// A sharedLimit is a context that ends at OpTimeout, for all that begin in the first 16th of it. A context for each wait for
// a connection would be four allocations. Who has waited until it ended, and has a moment left, waits for that under a
// context of its own.
type sharedLimit struct {
	ctx    context.Context
	cancel context.CancelFunc // only its timer ends it: others may wait under it
	fresh  time.Time          // from then on, a new one is made
}

// limit returns a context that ends with ctx, and at the latest when by comes.
func (n *node) limit(ctx context.Context, now, by time.Time) (context.Context, context.CancelFunc) {
	d := by.Sub(now)
	switch {
	case n.source.LendNow != nil:
		return ctx, func() {}
	case ctx != context.Background(), d != n.opTimeout():
		return context.WithTimeout(ctx, d)
	}
	shared := n.limits.Load()
	if shared == nil || !now.Before(shared.fresh) {
		shared = &sharedLimit{fresh: now.Add(d / 16)}
		shared.ctx, shared.cancel = context.WithTimeout(ctx, d)
		n.limits.Store(shared)
	}
	return shared.ctx, func() {}
}
