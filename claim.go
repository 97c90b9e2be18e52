package redigolock

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/cleanup"
	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// How an acquire deals with a reply that is lost. The command may have been carried out, may never be, or may be later,
// when it reaches a server that was stopped for a minute. So the token stays the same for the whole call, and a try that
// finds it in the key has found its own lock.
//
// Where the connection broke, which an idle one does after a restart of the server, the same try goes on at once on
// another, for what is left of its OpTimeout. If that finds the token, the lock counts from the first send, for the key
// cannot be older. A later try does not know since when the token is there, so one Extend renews it, and the lock counts
// from the send of that Extend. A call that gives up, and a lock that was obtained after a lost reply and has been
// released, leave the token to the clean-up in the background: see node.owe.

// A claim is a token that goes into a key at a node, or is there. Each Lock has one; a lock at several nodes has one for each.
type claim struct {
	key, token string
	ttl        time.Duration
	conn       wire.Bound // of the acquire and of the first try of the release; allocated with the claim
	lostTry    *lostTry   // of the acquire; nil: none
}

// try has with put the token into the key, once, within most. It returns since when the lock counts. How it ended is for its caller
// to tell. h is what a waiting acquire knows of the holder; nil: this is a single try.
func (n *node) try(ctx context.Context, x *claim, with AcquireFunc, h *crowd.Holder, most time.Duration) (start time.Time, err error) {
	now := n.host()
	start, err = n.onLentBy(ctx, &x.conn, "acquire", x.key, now, now.Add(most), x.ttl, func(c redis.Conn) error {
		err := n.take(ctx, c, x, with)
		if h != nil && errors.Is(err, ErrHeld) && x.lostTry == nil {
			return learnHolder(ctx, c, h, x.key, err, n.now())
		}
		return err
	})
	switch {
	case x.conn.MayAskAgain(ctx, err):
		n.observer.outcome(ctx, x.key, "acquire", err)
		return n.tryAgain(ctx, x, with, start, err)
	case errors.Is(err, ErrUnknown), errors.Is(err, fault.Unread):
		x.stray(ctx)
	case x.lostTry != nil && (err == nil || errors.Is(err, ErrHeld)):
		return n.adopt(ctx, x, err, time.Now().Add(n.opTimeout()))
	}
	return start, err
}

// take runs with, and waits for the replicas.
func (n *node) take(ctx context.Context, c redis.Conn, x *claim, with AcquireFunc) error {
	if err := with(ctx, c, x.key, x.token, x.ttl); err != nil {
		return err
	}
	return n.replicated(ctx, c, "acquire", x.key)
}

// prolong is Extend for a lock that is being acquired or held, and waits for the replicas.
func (n *node) prolong(ctx context.Context, c redis.Conn, x *claim, verb string, ttl time.Duration) error {
	if err := Extend(ctx, c, x.key, x.token, ttl); err != nil {
		return err
	}
	return n.replicated(ctx, c, verb, x.key)
}

// tryAgain repeats a try that was sent after first and ended with the error lost.
func (n *node) tryAgain(ctx context.Context, x *claim, with AcquireFunc, first time.Time, lost error) (start time.Time, err error) {
	earlier := x.lostTry != nil
	x.stray(ctx)
	var extended time.Time
	_, err = n.askAgain(ctx, &x.conn, "acquire", x.ttl, func(c redis.Conn) error {
		err := n.take(ctx, c, x, with)
		var held *HeldError
		if !errors.Is(err, ErrHeld) || errors.As(err, &held) && held.Holder != "" {
			return err
		}
		start := n.now() // SetNX does not tell whose it is
		switch extendErr := n.prolong(ctx, c, x, "acquire", x.ttl); {
		case errors.Is(extendErr, ErrNotHeld):
			return err
		case extendErr != nil:
			return extendErr
		}
		extended = start
		return nil
	})
	x.stray(ctx) // that may be carried out late, too
	switch {
	case err == nil && !extended.IsZero():
		return extended, nil
	case err == nil && (earlier || passed(n.now(), deadline(first, x.ttl))):
		return n.adopt(ctx, x, nil, x.conn.Ends())
	case err == nil:
		return first, nil
	case answered(err), errors.Is(err, ErrHeld):
		return first, err
	}
	return first, fault.Followed(lost, "and on another connection: ", err)
}

// adopt asks by an Extend whether the key carries the token since a try whose reply was lost. held is what the newest
// try said: nil, or an ErrHeld that may mean this very lock, for SetNX cannot tell. It ends at by.
func (n *node) adopt(ctx context.Context, x *claim, held error, by time.Time) (start time.Time, err error) {
	start, err = n.onLentBy(ctx, &x.conn, "acquire", x.key, n.host(), by, x.ttl, func(c redis.Conn) error {
		return n.prolong(ctx, c, x, "acquire", x.ttl)
	})
	switch {
	case err == nil:
		return start, nil
	case errors.Is(err, ErrNotHeld) && held != nil:
		return start, held
	case errors.Is(err, ErrNotHeld):
		return start, fault.Of(ErrExpired, "acquire", x.key, "it was gone when it was renewed")
	}
	x.stray(ctx) // the key may be newer than the lost try, or renewed
	return start, err
}

// A lostTry is the newest try of an acquire whose reply was lost.
type lostTry struct {
	since time.Time       // it was sent before, and may be carried out later still
	ctx   context.Context // for what the clean-up tells
}

// stray notes that the newest try may be carried out at any time.
func (x *claim) stray(ctx context.Context) {
	x.lostTry = &lostTry{time.Now(), context.WithoutCancel(ctx)}
}

// learnHolder learns what is left of the holder's TTL, for neither SET nor GET tells. It asks when a second try finds the same
// holder, and again when that TTL is over: under contention, when each try finds another, it costs nothing. It finds the key
// that is no lock, too, which would have the acquire wait for ever. err is the ErrHeld of the try just made on c; learnHolder
// returns it with what it learned, or an ErrConflict.
func learnHolder(ctx context.Context, c redis.Conn, h *crowd.Holder, key string, err error, now time.Time) error {
	var held *HeldError
	if !errors.As(err, &held) {
		return err
	}
	same := h.Err != nil && held.Holder == h.Name
	h.Err, h.Name = held, held.Holder
	switch {
	case held.TTL > 0:
		h.Until = now.Add(held.TTL)
	case !same:
		h.Until = time.Time{}
	case now.Before(h.Until):
		held.TTL = h.Until.Sub(now)
	default:
		return inspectHolder(ctx, c, h, key, held, now)
	}
	return err
}

func inspectHolder(ctx context.Context, c redis.Conn, h *crowd.Holder, key string, held *HeldError, now time.Time) error {
	info, err := inspectLock(ctx, c, key)
	switch {
	case errors.Is(err, ErrConflict):
		return err
	case err != nil || !info.Held: // not allowed, or free by now: the next try will tell
		return held
	}
	h.Until = now.Add(info.TTL)
	if held.Holder != "" {
		h.Name = names.Holder(info.Token)
	}
	held.TTL, held.Holder = info.TTL, names.Holder(info.Token)
	return held
}

// free runs with on a connection that the pool lends; if no answer comes, if the server cannot carry it out now, or if the pool lends
// none, it runs with once more, on a connection that is not the pool's. So a retry of a release is here, and not in a ReleaseFunc.
// most bounds each of the two tries. Where the second finds nothing after a first without an answer, the first has deleted the key,
// unless isOver reports that the lock's time is over.
func (n *node) free(ctx context.Context, x *claim, most time.Duration, with ReleaseFunc, isOver func() bool) error {
	now := time.Now()
	_, err := n.onLentBy(ctx, &x.conn, "release", x.key, now, now.Add(most), most, func(c redis.Conn) error {
		return with(ctx, c, x.key, x.token)
	})
	n.told(ctx, x.key, "release", err)
	if err == nil || !fault.Transient(err) && !x.conn.NotLent(err) {
		return err
	}
	again := n.onFresh(ctx, "release", x.key, x.token, time.Now().Add(most), most, func(c redis.Conn) error {
		return with(ctx, c, x.key, x.token)
	})
	n.told(ctx, x.key, "release", again)
	return fault.ReleasedAgain(err, again, isOver)
}

// told tells the Observer how a try of an acquire or of a release ended. A release that found nothing is left to its caller, who knows
// whether the token should have been there.
func (c *core) told(ctx context.Context, key, verb string, err error) {
	if verb != "release" || !errors.Is(err, ErrNotHeld) {
		c.observer.outcome(ctx, key, verb, err)
	}
}

// A cleaning is the clean-up of a Locker in the background.
type cleaning struct {
	once    sync.Once // for cleaner
	cleaner cleanup.Cleaner
}

// cleaner is the engine, with what it needs of the core.
func (c *core) cleaner() *cleanup.Cleaner {
	x := &c.cleaning
	x.once.Do(func() { x.cleaner.Init(cleanup.Env{Bound: c.opTimeout, Read: readRemoval, Told: c.cleaned}) })
	return &x.cleaner
}

// owe gives the clean-up a token that a lost try may have left at the node. It first tries to remove it at next.
func (n *node) owe(x *claim, next time.Time) { n.oweUntil(x, next, time.Time{}) }

// oweUntil is owe of a token whose lease may last until then.
func (n *node) oweUntil(x *claim, next, until time.Time) {
	lost := x.lostTry
	if end := lost.since.Add(x.ttl); until.Before(end) {
		until = end
	}
	n.cleaner().Add(cleanNode{n}, cleanup.Stray{Key: x.key, Token: x.token, Context: lost.ctx, Next: next, Until: until.Add(n.opTimeout())})
}

// cleaned tells how a try ended.
func (c *core) cleaned(s *cleanup.Stray, err error) {
	if err == nil {
		c.by.freed(s.Key)
	}
	if !fault.IsGone(err) {
		c.observer.outcome(s.Context, s.Key, "clean up", err)
	}
}

// readRemoval is what the error of a try says.
func readRemoval(err error) cleanup.Answer {
	switch {
	case fault.IsGone(err):
		return cleanup.Gone
	case !fault.Transient(err):
		return cleanup.Refused
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrUnavailable):
		return cleanup.Silent
	}
	return cleanup.Failed
}

// tenure is that of the server that a key's commands go to now: it is closed when that may have lost its newest writes, as by a failover.
// Nil: it is not known.
func (n *node) tenure(key string) <-chan struct{} {
	if at := n.source.Nodes; at != nil {
		return at.Tenure(key)
	}
	return n.source.Another()
}

// remember has the clean-up remember that k's token is not in the key any more, as a server has said since before was the tenure. A token
// that was attached is not remembered: its owner may put it there again. Nor is the caller's context, which may hold much.
func (n *node) remember(k *Lock, before <-chan struct{}) {
	if k.attached || before == nil {
		return
	}
	tenure := before
	if now := n.tenure(k.key); now != nil && !wait.IsClosed(before) { // the slot may have moved, and this is its node's
		tenure = now
	}
	n.cleaner().Removed(cleanNode{n}, tenure, cleanup.Removal{Key: k.key, Token: k.token, Until: time.Now().Add(k.longest() + n.opTimeout())})
}

// A cleanNode is a node as the cleanup.Node of its strays, by connections that are not the pool's.
type cleanNode struct{ *node }

// Group is the server of the key, by the map of a Cluster. Of another pool whose connections lead to the node of one key each, nothing is
// known.
func (n cleanNode) Group(s *cleanup.Stray) any {
	switch at := n.source.Nodes; {
	case at != nil:
		return at.Where(s.Key)
	case n.source.Binds():
		return nil
	}
	return ""
}

// Place is where the key is served: another one after a failover, or when its slot has moved.
func (n cleanNode) Place(s *cleanup.Stray) any {
	if at := n.source.Nodes; at != nil {
		return at.Place(s.Key)
	}
	return n.source.Another()
}

// Another is closed when Place is another for some key.
func (n cleanNode) Another() <-chan struct{} {
	if at := n.source.Nodes; at != nil {
		return at.Another()
	}
	return n.source.Another()
}

// Remover is one for strays of a group. A connection of a Cluster's leads from key to key.
func (n cleanNode) Remover() cleanup.Remover {
	return &remover{n.node, wire.Kept{Dial: n.source.Dial, Count: &n.conns}}
}

type remover struct {
	*node
	kept wire.Kept
}

// Remove deletes the key if it carries the token.
func (r *remover) Remove(ctx context.Context, s *cleanup.Stray) error {
	const verb = "clean up"
	if r.source.Nodes == nil && r.source.Binds() { // the end of ctx is that of the core, not of a caller
		return r.onOwn(ctx, verb, s.Key, s.Token, r.opTimeout(), func(c redis.Conn) error {
			return undo(ctx, c, s.Key, s.Token)
		})
	}
	by := time.Now().Add(r.opTimeout())
	if err := r.kept.Ready(ctx, by); err != nil {
		return fault.NoConnection(ctx, verb, s.Key, err)
	}
	b := wire.BoundBy(r.kept.Conn(), by)
	b.Key, b.Token = s.Key, s.Token
	return undo(ctx, b, s.Key, s.Token)
}

// HangUp closes the connection, if there is one.
func (r *remover) HangUp() { r.kept.HangUp() }

// undo deletes the key if it carries the token. Whatever takes an acquire back calls it, and never Locker.ReleaseWith: that may do more
// than delete, and if it panicked on a goroutine of the Locker's own, the process would end. A user of the server who may not run a
// script may have the right to a transaction.
func undo(ctx context.Context, c redis.Conn, key, token string) error {
	err := Release(ctx, c, key, token)
	if re, ok := fault.Reply(err); ok && (fault.Word(re) == "NOPERM" || fault.UnknownCommand(re)) {
		again := ReleaseTx(ctx, c, key, token)
		if again == nil || errors.Is(again, ErrNotHeld) || fault.Transient(again) {
			return again
		}
	}
	return err
}
