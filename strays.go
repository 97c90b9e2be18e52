package redigolock

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/cleanup"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

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

// owe leaves a token that a lost try may have left at the node to the clean-up there, to begin then.
func (n *node) owe(x *claim, next time.Time) { n.oweUntil(x, next, time.Time{}) }

// oweUntil is owe of a token whose lease may last until then.
func (n *node) oweUntil(x *claim, next, until time.Time) {
	lost := x.lostTry
	if end := lost.since.Add(x.ttl); until.Before(end) {
		until = end
	}
	n.cleaner().Add(&n.clean, cleanup.Stray{Key: x.key, Token: x.token, Context: lost.ctx, Next: next, Until: until.Add(n.opTimeout())})
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
	}
	return cleanup.Failed
}

// A cleanNode is a node as the cleanup.Node of its strays, by a connection that is not the pool's.
type cleanNode struct {
	*node
	kept wire.Kept
}

// Apart reports whether the pool's connections lead to the node of one key each (Redis Cluster).
func (n *cleanNode) Apart() bool { return n.source.Binds() }

// Place is where the key is served: another one after a failover, or when its slot has moved.
func (n *cleanNode) Place(s *cleanup.Stray) any {
	if at := n.source.Nodes; at != nil {
		return at.Place(s.Key)
	}
	return n.source.Another()
}

// Another is closed when Place is another for some key.
func (n *cleanNode) Another() <-chan struct{} {
	if at := n.source.Nodes; at != nil {
		return at.Another()
	}
	return n.source.Another()
}

// Remove deletes the key if it carries the token.
func (n *cleanNode) Remove(ctx context.Context, s *cleanup.Stray) error {
	if n.Apart() { // the end of ctx is that of the core, not of a caller
		return n.onOwn(ctx, "clean up", s.Key, s.Token, n.opTimeout(), func(c redis.Conn) error {
			return undo(ctx, c, s.Key, s.Token)
		})
	}
	if err := n.kept.Ready(ctx, time.Now().Add(n.opTimeout())); err != nil {
		return fault.NoConnection(ctx, "clean up", s.Key, err)
	}
	b := wire.BoundBy(n.kept.Conn(), time.Now().Add(n.opTimeout()))
	b.Key, b.Token = s.Key, s.Token
	return undo(ctx, b, s.Key, s.Token)
}

// HangUp closes the connection, if there is one.
func (n *cleanNode) HangUp() { n.kept.HangUp() }

// undo deletes the key if it carries the token, as all must that takes an acquire back: never by Locker.ReleaseWith, which
// may do more than that, or panic, which on a goroutine of the Locker's own would end the process. A user of the server that
// may run no script may have the right to a transaction.
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
