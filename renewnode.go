package redigolock

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// groupMost is how many locks one request extends. A redis-server 7.0.15 does nothing else meanwhile, for 0.12 to 0.17
// ms; with 64 locks it was twice that, and neither side used less processor time for a lock.
const groupMost = 32

// A renewNode is the one renewal.Node of a Locker: the server that its pool leads to, by a connection that is not the pool's, so that
// an exhausted pool starves nobody. A pool that cannot dial lends it, and gets it back when nothing is kept alive any more: a
// pool that is exhausted later must not cost a lock.
//
// It extends the locks of a flight in one pipeline of requests for up to groupMost locks each. A request for many extends locks,
// but ends none: what it does not extend is sent again in the same flight, alone. A flight that breaks is unknown for those without
// a reply, which are sent again on a new connection, alone.
type renewNode struct {
	ownConn
	alone   bool  // locks that were refused together have been extended one by one: so it will be from now on
	replies []any // one for each lock
	renewRequests
}

// Apart reports whether the pool's connections lead to the node of one key each (Redis Cluster): there is no pipeline to share.
func (n *renewNode) Apart() bool { return n.source.Binds() }

// Another is closed when the pool leads to another server.
func (n *renewNode) Another() <-chan struct{} { return n.source.Another() }

// Ready dials if there is no connection that works.
func (n *renewNode) Ready(by time.Time) error {
	if err := n.ready(context.Background(), by); err != nil {
		return fault.Unheard{Err: err}
	}
	return nil
}

// Close is called when nothing is kept alive any more.
func (n *renewNode) Close() {
	n.hangUp()
	*n = renewNode{ownConn: ownConn{node: n.node}}
}

// Extend sends the renewals of a flight and reads their replies. What is sent for many locks at once and not extended is
// sent again for each alone, and only that answer counts. One lock that this client has no rights on has all of its
// request refused; a server in cluster mode refuses keys of several slots; and a proxy that looks at the first key only
// asks a server that does not have the others.
func (n *renewNode) Extend(by time.Time, asks []renewal.Ask) error {
	b := wire.BoundBy(n.conn, by)
	ctx, cancel := context.WithDeadline(context.Background(), by) // ends a write, too, that no timeout of the user's ends
	defer cancel()
	n.pickAll(len(asks))
	err := n.send(ctx, b, asks, n.size())
	if n.pickRefused(); err == nil && len(n.picked) > 0 {
		err = n.send(ctx, b, asks, 1)
		n.alone = !slices.ContainsFunc(n.picked, func(i int) bool { return !isExtended(n.replies[i]) })
	}
	if err == nil && isReadOnly(n.replies[0]) {
		n.hangUp() // a demoted master: dial again, perhaps another one
	}
	acked := n.ackedBy(ctx, b, asks, err)
	for i := range asks {
		switch {
		case !isAnswer(n.replies[i]), acked != nil && errors.Is(acked, ErrUnknown) && isExtended(n.replies[i]):
		case acked != nil && isExtended(n.replies[i]):
			asks[i].Vote = renewal.Vote{Answered: true, Err: acked}
		default:
			asks[i].Vote = voteOf(lockOf(&asks[i]), n.replies[i])
		}
	}
	n.replies = n.replies[:0]
	if err == nil && errors.Is(acked, ErrUnknown) {
		err = acked
	}
	return err
}

// ackedBy waits for the replicas that must have acknowledged what the flight has extended. err is what sending it ended with.
func (n *renewNode) ackedBy(ctx context.Context, b *wire.Bound, asks []renewal.Ask, err error) error {
	at := slices.IndexFunc(n.replies, isExtended)
	switch {
	case n.replicas == 0 || at < 0:
		return nil
	case err != nil:
		return fault.UnknownOutcome(ctx, "extend", lockOf(&asks[at]).key, err)
	}
	return n.replicated(ctx, b, "extend", lockOf(&asks[at]).key)
}

// voteOf is what the reply to a lock's renewal says.
func voteOf(k *Lock, reply any) renewal.Vote {
	v := renewal.Vote{Answered: true, Left: k.ttl}
	if re, ok := reply.(redis.Error); ok {
		v.Err = fault.Refused("extend", k.key, re)
	} else {
		_, v.Err = wire.ReadHeld("extend", k.key, reply)
	}
	return v
}

func lockOf(a *renewal.Ask) *Lock { return keeperOf(a.Lease).k }

// ExtendAlone extends one lock on a connection for its key. It is borrowed, which a cluster's pool answers from what is idle; after
// a failure it is dialled, where that can be.
func (n *renewNode) ExtendAlone(x renewal.Lease, within time.Duration, own bool) renewal.Vote {
	kp := keeperOf(x)
	k, ctx := kp.k, context.WithoutCancel(kp.observed())
	v := renewal.Vote{Answered: true, Left: k.ttl}
	extend := func(c redis.Conn) error {
		v.Start = n.now()
		_, err := n.by.extendOn(ctx, c, k, k.ttl)
		return err
	}
	if now := time.Now(); own && n.source.CanDial() {
		v.Err = n.onOwnBy(ctx, "extend", k.key, k.token, now.Add(within), within, extend)
	} else {
		b := &wire.Bound{Key: k.conn.Key, Token: k.conn.Token, TTL: k.conn.TTL}
		_, v.Err = n.onLentBy(ctx, b, "extend", k.key, now, now.Add(within), within, extend)
	}
	return v
}

// send sends the renewals of the picked locks and reads their replies.
func (n *renewNode) send(ctx context.Context, b *wire.Bound, asks []renewal.Ask, size int) error {
	n.fill(asks, size)
	defer n.unpack()
	res := wire.Exchange(ctx, b, n.requests, n.answers)
	for i := res.Answered; i < len(n.answers); i++ {
		n.answers[i] = noAnswer{}
	}
	if res.Err != nil {
		return fault.Unheard{Err: res.Err, Sent: res.Sent}
	}
	return nil
}

// renewRequests are the requests of a flight, each for one lock or for several, and what they are built from.
type renewRequests struct {
	picked   []int // the locks that are sent for, by their place in the flight
	sizes    []int // how many of picked each request is for
	requests []wire.Request
	args     []any
	answers  []any         // one for each request
	ttl      time.Duration // boxed as ms
	ms       any
}

// noAnswer stands where none has come: nil would be one.
type noAnswer struct{}

func isAnswer(reply any) bool {
	_, none := reply.(noAnswer)
	return !none
}

func noAnswers(replies []any, n int) []any {
	replies = replies[:0]
	for range n {
		replies = append(replies, noAnswer{})
	}
	return replies
}

// size is how many locks a request is for at most. Some servers take one, as some scripts do.
func (n *renewNode) size() int {
	if n.alone {
		return 1
	}
	return n.by.extension().most
}

// pickAll picks all locks of a flight.
func (n *renewNode) pickAll(locks int) {
	n.picked = n.picked[:0]
	for i := range locks {
		n.picked = append(n.picked, i)
	}
	n.replies = noAnswers(n.replies, locks)
}

// pickRefused picks those that were sent for together with others and not extended, and forgets their replies. What the
// server says to everybody for a while, as when it loads its data, stands.
func (n *renewNode) pickRefused() {
	left, at := n.picked[:0], 0
	for _, size := range n.sizes {
		for _, i := range n.picked[at : at+size] {
			if size > 1 && !isExtended(n.replies[i]) && !isPassing(n.replies[i]) {
				n.replies[i] = noAnswer{}
				left = append(left, i)
			}
		}
		at += size
	}
	n.picked = left
}

// fill builds the requests for the picked locks, each for up to size of them. One whose last renewal has failed has
// one of its own.
func (n *renewNode) fill(asks []renewal.Ask, size int) {
	n.requests, n.sizes, n.args = n.requests[:0], n.sizes[:0], make([]any, 0, cap(n.args)) // a connection may have recorded the last ones
	for left := n.picked; len(left) > 0; {
		of := 1
		for of < min(size, len(left)) && !asks[left[0]].Failed && !asks[left[of]].Failed {
			of++
		}
		n.add(asks, left[:of])
		left = left[of:]
	}
	n.answers = noAnswers(n.answers, len(n.requests))
}

// add builds the request for the locks at these places.
func (n *renewNode) add(asks []renewal.Ask, places []int) {
	at, x := len(n.args), n.by.extension()
	n.args = append(n.args, x.script.Digest, x.keys*len(places))
	for _, i := range places {
		n.args = x.add(n.args, lockOf(&asks[i]))
	}
	for _, i := range places {
		k := lockOf(&asks[i])
		if k.ttl != n.ttl {
			n.ttl, n.ms = k.ttl, k.ttl.Milliseconds()
		}
		n.args = append(n.args, k.conn.Token, n.ms)
	}
	n.sizes = append(n.sizes, len(places))
	n.requests = append(n.requests, x.script.Request(n.args[at:len(n.args):len(n.args)]))
}

// unpack gives each of the picked locks the answer to its request, or its part of it. A list of another length says
// nothing about any of them.
func (n *renewNode) unpack() {
	at := 0
	for r, size := range n.sizes {
		answer := n.answers[r]
		list, _ := answer.([]any)
		_, isError := answer.(redis.Error)
		for j, i := range n.picked[at : at+size] {
			switch {
			case size == 1 || isError || !isAnswer(answer):
				n.replies[i] = answer
			case len(list) == size:
				n.replies[i] = list[j]
			default:
				n.replies[i] = nil
			}
		}
		at += size
	}
}

func isExtended(reply any) bool {
	left, ok := reply.(int64)
	return ok && left > 0
}

func isReadOnly(reply any) bool {
	re, ok := reply.(redis.Error)
	return ok && fault.ReadOnly(fault.Bare(re))
}

// isPassing reports whether to ask again at once would be in vain, alone too.
func isPassing(reply any) bool {
	re, ok := reply.(redis.Error)
	if !ok {
		return !isAnswer(reply)
	}
	re = fault.Bare(re)
	switch fault.Word(re) {
	case "NOSCRIPT":
		return true
	case "TRYAGAIN": // which is about several keys
		return false
	}
	return fault.TransientReply(re)
}
