// Package batch renews locks at a server, many in one exchange. It is what package renewal knows as a Node, and knows a lock only by what
// is sent for it.
package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// Most is how many locks one request extends. A redis-server 7.0.15 does nothing else meanwhile, for 0.12 to 0.17
// ms; with 64 locks it was twice that, and neither side used less processor time for a lock.
const Most = 32

// A Lock is a lease with what is sent for it.
type Lock interface {
	renewal.Lease
	Key() string
	// AddKeys adds its KEYS, and what stands before all tokens.
	AddKeys(args []any) []any
	Token() any
}

// An Extension is the script that extends locks: KEYS and ARGV are those of all locks, one after the other, ARGV ends for
// each with its token and the ttl in ms.
type Extension struct {
	Script *wire.Script
	Most   int // how many locks it extends at a time
	Keys   int // of each lock
}

// An Env is what a Node needs of its owner.
type Env struct {
	Dial      func(context.Context) (redis.Conn, error) // makes a connection that is not the pool's
	Conns     *atomic.Int64                             // counts it
	Extension Extension
	Place     string                 // of one that is not of a Redis Cluster; see renewal.Node
	Apart     func() bool            // see renewal.Node
	Another   func() <-chan struct{} // see renewal.Node
	// Alone is ExtendAlone of a renewal.Node, for one that is Apart.
	Alone func(k Lock, within time.Duration, own bool) renewal.Vote
	// Acknowledged waits until the replicas that must have acknowledged what was sent on a connection. Nil: there are none.
	Acknowledged func(ctx context.Context, b *wire.Bound, key string) error
}

// A Node is a server, by a connection that is not the pool's, so that an exhausted pool starves nobody. A pool that cannot dial lends
// it, and gets it back when nothing is kept alive any more: a pool that is exhausted later must not cost a lock.
//
// It extends the locks of a flight in one pipeline of requests for up to Most locks each. A request for many extends locks, but ends
// none: what it does not extend is sent again in the same flight, alone. A flight that breaks is unknown for those without a reply,
// which are sent again on a new connection, alone.
type Node struct {
	env     Env
	of      *Nodes // of a Redis Cluster; nil: it is the server of a pool
	addr    string // there; "": it is the Node that leads to all of them
	kept    wire.Kept
	alone   bool  // locks that were refused together have been extended one by one: so it will be from now on
	replies []any // one for each lock
	requests
}

// Init must be called first.
func (n *Node) Init(env Env) {
	n.env, n.kept = env, wire.Kept{Dial: env.Dial, Count: env.Conns}
}

// Apart reports whether the pool's connections lead to the node of one key each (Redis Cluster): there is no pipeline to share.
func (n *Node) Apart() bool { return n.env.Apart() }

// Another is closed when the pool leads to another server.
func (n *Node) Another() <-chan struct{} { return n.env.Another() }

// Place is its server's address in a Redis Cluster, or what its owner knows it by.
func (n *Node) Place() string { return cmp.Or(n.addr, n.env.Place) }

// Ready dials if there is no connection that works.
func (n *Node) Ready(ctx context.Context, by time.Time) error {
	if err := n.kept.Ready(ctx, by); err != nil {
		return fault.Unheard{Err: orCut(ctx, err)}
	}
	return nil
}

// errCut is why something has no answer that was given up for the sake of another lock.
var errCut = fmt.Errorf("no answer by when another lock had to be renewed: %w", os.ErrDeadlineExceeded)

// orCut is err, or errCut if it comes of the end of ctx.
func orCut(ctx context.Context, err error) error {
	if ctx.Err() == context.Canceled {
		return errCut
	}
	return err
}

// Close is called when nothing is kept alive any more.
func (n *Node) Close() {
	n.kept.HangUp()
	n.alone, n.replies, n.requests = false, nil, requests{}
	if n.of != nil && n.addr != "" {
		n.of.forget(n)
	}
}

// Extend sends the renewals of a flight and reads their replies. What is sent for many locks at once and not extended is
// sent again for each alone, and only that answer counts. One lock that this client has no rights on has all of its
// request refused; a server in cluster mode refuses keys of several slots; and a proxy that looks at the first key only
// asks a server that does not have the others.
func (n *Node) Extend(ctx context.Context, by time.Time, asks []renewal.Ask) error {
	b := wire.BoundBy(n.kept.Conn(), by)
	ctx, cancel := context.WithDeadline(ctx, by) // ends a write, too, that no timeout of the user's ends
	defer cancel()
	n.pickAll(len(asks))
	err := n.send(ctx, b, asks, n.size())
	if n.pickRefused(); err == nil && len(n.picked) > 0 {
		err = n.send(ctx, b, asks, 1)
		n.alone = !slices.ContainsFunc(n.picked, func(i int) bool { return !isExtended(n.replies[i]) })
	}
	if err == nil && isReadOnly(n.replies[0]) {
		n.kept.HangUp() // a demoted master: dial again, perhaps another one
	}
	acked := n.ackedBy(ctx, b, asks, err)
	for i := range asks {
		k := lockOf(&asks[i])
		switch at := n.redirect(k, n.replies[i]); {
		case at != nil:
			asks[i].Vote = renewal.Vote{At: at}
		case !isAnswer(n.replies[i]), acked != nil && errors.Is(acked, fault.Unknown) && isExtended(n.replies[i]):
		case acked != nil && isExtended(n.replies[i]):
			asks[i].Vote = renewal.Vote{Answered: true, Err: acked}
		default:
			asks[i].Vote = voteOf(k, n.replies[i])
		}
	}
	n.replies = n.replies[:0]
	if err != nil && n.of != nil {
		n.of.by.Refresh()
	}
	if err == nil && errors.Is(acked, fault.Unknown) {
		err = acked
	}
	return err
}

// ackedBy waits for the replicas that must have acknowledged what the flight has extended. err is what sending it ended with.
func (n *Node) ackedBy(ctx context.Context, b *wire.Bound, asks []renewal.Ask, err error) error {
	at := slices.IndexFunc(n.replies, isExtended)
	switch {
	case n.env.Acknowledged == nil || at < 0:
		return nil
	case err != nil:
		return fault.UnknownOutcome(ctx, "extend", lockOf(&asks[at]).Key(), err)
	}
	return n.env.Acknowledged(ctx, b, lockOf(&asks[at]).Key())
}

// voteOf is what the reply to a lock's renewal says.
func voteOf(k Lock, reply any) renewal.Vote {
	v := renewal.Vote{Answered: true, Left: k.TTL()}
	if re, ok := reply.(redis.Error); ok {
		v.Err = fault.Refused("extend", k.Key(), re)
	} else {
		_, v.Err = wire.ReadHeld("extend", k.Key(), reply)
	}
	return v
}

func lockOf(a *renewal.Ask) Lock { return a.Lease.(Lock) }

// ExtendAlone extends one lock on a connection for its key.
func (n *Node) ExtendAlone(x renewal.Lease, within time.Duration, own bool) renewal.Vote {
	k := x.(Lock)
	v := n.env.Alone(k, within, own)
	if n.of != nil && v.Err == nil {
		v.At = n.of.home(k.Key())
	}
	return v
}
