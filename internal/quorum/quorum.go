// Package quorum has locks taken, extended and given back at a majority of several nodes. It is the engine of Quorum. It sends
// nothing by itself, and knows neither Redis nor a Lock: a lock has a Seat at each node, which its owner makes.
//
// A lock is what a majority of the nodes has. A node's vote is that its own command put this try's token into the key, or that it has
// it still. Each try has a new token, and each node is asked by a goroutine of its own, which ends in its time or in twice that. So a call
// never waits for a node that hangs longer than it must:
//
//	poll     asks nodes at once, and returns when the outcome is settled and the others have had a moment (package poll)
//	Take     one try of an acquire: a poll, and if there is no majority the end of its votes
//	seek     asks one node to take the lock in, also later, when a node has come back empty
//	vacate   removes the token from one node
//
// A ballot (package ballot) says where the token may be. Once it is over, nothing may be left: whoever ends asking a node, or ends the
// ballot while nobody asks that node, vacates that seat. What does not answer then goes to the clean-up in the background. A node that
// is known not to have the token is not asked.
package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock/internal/ballot"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/poll"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wait"
)

// An Env is what Voters need of their owner.
type Env struct {
	Now    func() time.Time                                          // by which locks are judged
	Ends   func(start time.Time, left time.Duration) time.Time       // until when one may rely on what was sent at start
	Owed   *atomic.Int64                                             // counts what is to be removed though its call has returned
	Held   func(key, holder string) error                            // makes the error that a key is held
	Holder func(err error) (name string, _ time.Duration, held bool) // reads such an error
	// Told is called after each Take ("acquire") and Remove ("release").
	Told func(ctx context.Context, key, verb string, err error)
}

// A Seat is the token of a lock at a node. Its methods are called on goroutines of the Voters': Take, Remove and Release one at a time,
// and those by who may write to the key.
type Seat interface {
	// Take asks the node to take the token in, within so long, and returns when that was sent.
	Take(ctx context.Context, within time.Duration) (start time.Time, err error)
	// Extend has the token last so long from start on. isOver, asked just before it is sent, says that it must not be any more.
	Extend(ctx context.Context, ttl, within time.Duration, isOver func() bool) (start time.Time, err error)
	Verify(ctx context.Context, within time.Duration) error
	// Remove removes the token, in one try; Release in two, each of which takes so long at most.
	Remove(ctx context.Context) error
	Release(ctx context.Context, each time.Duration) error
	// Stray notes that the token may be carried to the node at any time. HasStray reports whether it was called, or whether a Take has
	// found that out by itself, and Owe leaves the node to the clean-up then.
	Stray(ctx context.Context)
	HasStray() bool
	Owe()
}

// Voters are the nodes.
type Voters struct {
	env   Env
	polls poll.Group // one voter for each node
}

// Init must be called first.
func (v *Voters) Init(env Env, nodes int) {
	v.env = env
	v.polls.Voters, v.polls.Needed = nodes, nodes/2+1
}

// Majority is how many votes decide.
func (v *Voters) Majority() int { return v.polls.Needed }

// Ended returns a channel that is closed as soon as nothing is under way any more.
func (v *Voters) Ended() <-chan struct{} { return v.polls.Ended() }

// Votes are where a lock stands at the nodes.
type Votes struct {
	voters *Voters
	ballot *ballot.Ballot
	ctx    context.Context // of the acquire, without its end
	key    string
	ttl    time.Duration
	within time.Duration // how long each node has
	seats  []Seat        // of who seeks the node, and then of who vacates it
}

// New makes the Votes of a lock with these seats, one for each node.
func (v *Voters) New(ctx context.Context, key string, ttl, within time.Duration, seats []Seat) *Votes {
	return &Votes{v, ballot.New(len(seats), v.env.Owed), context.WithoutCancel(ctx), key, ttl, within, seats}
}

// Take is one try of an acquire. keep is called when a majority has taken the token in, and says why the lock is not kept all the
// same. If it is not, what may be left at nodes is removed. final says that other tries would be in vain.
func (b *Votes) Take(ctx context.Context, keep func() error) (final bool, err error) {
	kept := false
	defer func() {
		if !kept {
			b.End(b.within)
		}
	}()
	answers := b.voters.poll(b.within, func(node int) error { return b.seek(ctx, node) })
	if final, err = b.voters.judge(ctx, "acquire", b.key, answers); err == nil {
		err = keep()
	}
	kept = err == nil
	return final, err
}

// errPanicked stands for what became of a call that has not returned.
var errPanicked = errors.New("it panicked")

// seek asks a node to take the lock in.
func (b *Votes) seek(ctx context.Context, node int) (err error) {
	var start time.Time
	s := b.seats[node]
	err = errPanicked
	defer func() {
		if err == errPanicked {
			s.Stray(ctx)
		}
		var h ballot.Holding
		if err == nil {
			h = b.holding(start, b.ttl)
		}
		if b.ballot.Sought(node, h) {
			b.vacate(node)
		}
	}()
	start, err = s.Take(ctx, b.within)
	b.voters.env.Told(ctx, b.key, "acquire", err)
	return err
}

// holding is what a node has that has said so when it was asked at start.
func (b *Votes) holding(start time.Time, left time.Duration) ballot.Holding {
	return ballot.Holding{Start: start, Left: left, Ends: b.voters.env.Ends(start, left)}
}

// End ends the votes, and waits a while for what has to be removed for that.
func (b *Votes) End(most time.Duration) {
	var vacated []<-chan struct{}
	for _, node := range b.ballot.End() {
		vacated = append(vacated, b.vacate(node))
	}
	b.ballot.Returned()
	wait.For(most, vacated...)
}

// vacate has a token removed from a node that may have it. The seat is the caller's. What it returns is closed when the node has
// answered, or has been left to the clean-up.
func (b *Votes) vacate(node int) <-chan struct{} {
	v, s, done := b.voters, b.seats[node], make(chan struct{})
	if b.ballot.Held(node) == (ballot.Holding{}) {
		if s.HasStray() {
			s.Owe()
		}
		close(done)
		return done
	}
	v.env.Owed.Add(1)
	v.polls.Go(func() {
		defer close(done)
		defer v.env.Owed.Add(-1)
		err := errPanicked
		defer func() { b.oweUnless(fault.IsGone(err), node) }()
		err = s.Remove(b.ctx)
		v.env.Told(b.ctx, b.key, "release", err)
	})
	return done
}

// oweUnless leaves a node to the clean-up which may have the token still, or may get it yet.
func (b *Votes) oweUnless(isGone bool, node int) {
	s := b.seats[node]
	if !isGone {
		s.Stray(b.ctx)
	}
	if s.HasStray() {
		s.Owe()
	}
}

// Release removes the token from all nodes that may have it, and ends the votes. Each node is asked twice, for so long at most.
func (b *Votes) Release(ctx context.Context, each time.Duration) error {
	mayHave := make([]bool, len(b.seats)) // and their seats are this call's
	for _, node := range b.ballot.End() {
		mayHave[node] = b.ballot.Held(node) != (ballot.Holding{}) || b.seats[node].HasStray()
		if mayHave[node] {
			b.ballot.Leaving(node)
		}
	}
	defer b.ballot.Returned()
	answers := b.voters.poll(2*each, func(node int) (err error) {
		if !mayHave[node] {
			return fault.Gone("release", b.key)
		}
		err = errPanicked
		defer func() {
			b.oweUnless(fault.IsGone(err), node)
			b.ballot.Left(node)
		}()
		err = b.seats[node].Release(ctx, each)
		return err
	})
	_, err := b.voters.judge(ctx, "release", b.key, answers)
	return err
}

// Verify asks the nodes whether they have the token.
func (b *Votes) Verify(ctx context.Context) error {
	answers := b.voters.poll(b.within, func(node int) error { return b.seats[node].Verify(ctx, b.within) })
	_, err := b.voters.judge(ctx, "verify", b.key, answers)
	return err
}

// Extend has the nodes extend the token. The lock lasts ttl from start on then.
func (b *Votes) Extend(ctx context.Context, ttl time.Duration) (start time.Time, err error) {
	start = b.voters.env.Now()
	answers := b.voters.poll(b.within, func(node int) error {
		sent, err := b.seats[node].Extend(ctx, ttl, b.within, b.ballot.IsOver) // if this is late, a Release may have returned
		b.note(node, renewal.Vote{Start: sent, Left: ttl, Answered: true, Err: err})
		return err
	})
	_, err = b.voters.judge(ctx, "extend", b.key, answers)
	return start, err
}

var errNotAsked = errors.New("not asked yet")

// Verdict is what the nodes' renewals come to for a lock that lasts until then: it lasts for as long as a majority has it, whenever each
// of them was asked. It is zero if that is not known yet.
func (b *Votes) Verdict(votes []renewal.Vote, until time.Time) renewal.Vote {
	v, most := b.voters, len(b.seats)-b.voters.Majority()
	answers, failures := make([]error, len(votes)), 0
	for node, x := range votes {
		b.note(node, x)
		if answers[node] = fault.OfUnheard(b.ctx, "extend", b.key, x.Err); x.Err != nil {
			failures++
		} else if x.Start.IsZero() {
			answers[node] = errNotAsked
		}
	}
	h, empty := b.ballot.Common(v.Majority())
	switch {
	case empty > most:
		return renewal.Vote{Answered: true, Err: majorityLacks("extend", b.key)}
	case h != (ballot.Holding{}) && h.Ends.After(until):
		return renewal.Vote{Answered: true, Start: h.Start, Left: h.Left}
	case failures > most:
		return renewal.Vote{Err: v.noQuorum("extend", b.key, answers)}
	}
	return renewal.Vote{}
}

// note notes what a node has said of an extension.
func (b *Votes) note(node int, x renewal.Vote) {
	switch {
	case x.Err == nil:
		b.ballot.Has(node, b.holding(x.Start, x.Left))
	case fault.IsLoss(x.Err):
		b.ballot.Lacks(node, x.Start)
	}
}

// Ends is until when one may rely on what a node has; zero: it is not known to have the token.
func (b *Votes) Ends(node int) time.Time { return b.ballot.Held(node).Ends }

// Retake has nodes that came back empty take the lock in again.
func (b *Votes) Retake() {
	for _, node := range b.ballot.Retake(b.voters.Majority()) {
		b.voters.polls.Go(func() { _ = b.seek(b.ctx, node) })
	}
}

var errNoAnswer = errors.New("it has not answered in time")

// poll asks all nodes at once, for so long at most; see poll.Group.
func (v *Voters) poll(most time.Duration, ask func(node int) error) []error {
	return v.polls.Ask(most, fmt.Errorf("%w: %w", fault.Unknown, errNoAnswer), ask)
}
