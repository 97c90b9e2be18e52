package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/groupcommit"
)

// Lanes are connections to the nodes that callers share, by group commit: a Group for each node. What is redirected goes over the
// lanes of the node that is named; but after ASK over one of its pool's, for ASKING holds for the next command of its connection,
// which may be another caller's.
type Lanes struct {
	c   *Cluster
	env groupcommit.Env

	mu     sync.Mutex // protects what follows
	groups map[*node]*groupcommit.Group
	closed bool
}

// NewLanes makes lanes, with env for each node but for Dial and Test.
func (c *Cluster) NewLanes(env groupcommit.Env) *Lanes {
	return &Lanes{c: c, env: env, groups: map[*node]*groupcommit.Group{}}
}

// Conn returns a connection over the lanes.
func (ls *Lanes) Conn() *Conn { return &Conn{c: ls.c, lanes: ls, slot: -1} }

// errGone is for who waits for the lanes of a node that is not one of the cluster's any more.
var errGone = fmt.Errorf("%w: %w", fault.NotSent, fault.BusyPool)

// at is a connection over the lanes of a node.
func (ls *Lanes) at(n *node) (redis.Conn, error) {
	n.used.Store(time.Now().UnixNano())
	ls.mu.Lock()
	defer ls.mu.Unlock()
	switch g := ls.groups[n]; {
	case ls.closed:
		return nil, ls.env.Closed
	case g != nil:
		return g.Conn(), nil
	case n.gone():
		return nil, errGone
	}
	env := ls.env
	env.Dial, env.Closed = n.dial, errGone
	env.Test = func(ctx context.Context, c redis.Conn, used time.Time) bool { return n.test(ctx, c, used) == nil }
	g := &groupcommit.Group{}
	g.Init(env)
	ls.groups[n] = g
	context.AfterFunc(n.life, func() { ls.leave(n) })
	return g.Conn(), nil
}

// leave closes the lanes of a node.
func (ls *Lanes) leave(n *node) {
	ls.mu.Lock()
	g := ls.groups[n]
	delete(ls.groups, n)
	ls.mu.Unlock()
	if g != nil {
		g.Close()
	}
}

// Close closes all, as [groupcommit.Group.Close] does.
func (ls *Lanes) Close() {
	ls.mu.Lock()
	ls.closed = true
	groups := ls.groups
	ls.groups = nil
	ls.mu.Unlock()
	for _, g := range groups {
		g.Close()
	}
}

// Closed reports whether Close was called.
func (ls *Lanes) Closed() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.closed
}

// Counts are those of all lanes.
func (ls *Lanes) Counts() (all groupcommit.Counts) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, g := range ls.groups {
		n := g.Counts()
		all.Conns += n.Conns
		all.InFlight += n.InFlight
		all.Queued += n.Queued
	}
	return all
}
