// Package renewal keeps locks alive: it has each renewed in time at every node that has it, and says in time which are lost. It is
// the engine of Lock.KeepAlive. It sends nothing by itself, and knows neither Redis nor a Locker.
//
// # The picture
//
// A lock that is kept alive is a Lease. It is renewed at one Node or, where several servers vote about it, at each of several. What
// a node has of a lease is a share. Each node has a line: the shares that are renewed there, in the order in which they are due, and
// one goroutine, which lives while there are any. It takes what is due, and what will be within a 64th of its ttl, as one flight:
// up to maxFlight shares, which the Node extends in one go. One flight of a node is under way at most; those that become due
// meanwhile are in the next. What the node says of a share is its Vote, and the lease judges what all its nodes have said so far.
//
// One goroutine of the Renewer's, for all nodes, signals losses. It sends nothing, so it is in time whatever the lines hang in. It waits
// for the clock, and for Env.Lost, which tells the Observer: an Observer that blocks there holds up the losses after those it is told
// of (maxLosses at most). At least once a second the goroutine compares the clocks: after a suspension it looks at all leases.
//
// # Who may hold the renewals of a node up
//
//   - The node itself, by a dial or a flight that hangs, for as long as the line's patience lasts. That is half of the time until the
//     first of its leases is lost, so that one that hangs costs no lease, also if that lease has come since; but not so little that a server
//     in good health, perhaps a distant one, is taken for one that hangs. After a failure the line rests before it dials again (10 ms, doubling up to 250 ms).
//   - Whoever is called on the line's goroutine: the Node, and Lease.Judge with the Observer's funcs that it calls.
//   - For moments, whoever has the mutex. Nobody who has it sends, waits, or calls what is not the library's.
//
// No other node can: a line shares nothing with another but the mutex. A lease that its node does not have any more, as when the slot
// of a Redis Cluster has moved, goes over to the line of the one that has it: before anything is sent where the Node knows (Elsewhere),
// else by its Vote. So a node that is gone costs no lease that another has by now.
//
// The exception is a Node that is Apart: a pool whose connections lead to several nodes, and only the pool knows to which. Here
// renewals at one of them can hold up those at another, for no more than maxApart are under way at a time. So those that have failed
// before take half of these places at most: what fails again and again leaves the other half to the rest. And maxSpare more are for leases
// that could be lost while they wait for a place.
//
// # What becomes of a renewal that is answered late, or never
//
// A Vote counts from before its send, so a late answer is worth less. Without any, the lease is lost in time, by the clock. Where
// the server carries it out after the release, it compares a token that is in no key any more.
package renewal

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/wait"
)

// A Lease is a lock that is kept alive, as its owner knows it. Due and Lost are called with the Renewer's mutex held: they look, and
// call nothing of the Renewer's.
type Lease interface {
	TTL() time.Duration
	// Due is when it is to be renewed at a node, by its place among those of Add, as far as is known now: an Extend may have moved
	// it. What other nodes have must not: each is to be renewed before what it has itself is over.
	Due(now time.Time, node int) time.Time
	// Lost is why it counts as lost from now on, nil if it does not; and when that will be if nothing happens. last is the error of
	// the newest renewal.
	Lost(now time.Time, last error) (at time.Time, cause error)
	// Judge acts on the votes of its nodes, in their order; one that is zero has not voted yet. It returns why it is not renewed.
	Judge(votes []Vote) error
}

// A Vote is what a node has said of a lease.
type Vote struct {
	Start    time.Time     // just before the renewal was sent
	Left     time.Duration // from Start on, of the ttl there, at least; if Err is nil
	Answered bool          // by the node; else Err says why there is no answer
	Err      error
	// At is where the lease is to be renewed from now on; nil: where it was. With neither an answer nor an Err the vote says nothing
	// else, and nothing was carried out: the lease is asked for there after a pause.
	At Node
}

// A Node is where leases are renewed, with its connection. One goroutine at a time calls its methods but ExtendAlone.
type Node interface {
	// Apart reports whether each lease is to be renewed for itself, by ExtendAlone.
	Apart() bool
	// Another returns a channel that is closed when the node is another server from then on, which may not have the leases: so
	// all are renewed at once. Nil: that is not known of this node.
	Another() <-chan struct{}
	// Place tells the node from the others of a lease, to a simulation.
	Place() string
	// Elsewhere returns the Node that has a lease by now, nil if it is this one. It does not wait.
	Elsewhere(x Lease) Node
	// Ready sees to it that there is a connection, by then. It gives up when ctx ends.
	Ready(ctx context.Context, by time.Time) error
	// Extend has all leases extended that are asked for, and puts in each Vote what the node says of it: all but Start. It
	// returns by then, and when ctx ends. Its error is why some have no answer.
	Extend(ctx context.Context, by time.Time, asks []Ask) error
	// ExtendAlone extends one lease within a time. It is called on several goroutines. own asks for a new connection.
	ExtendAlone(x Lease, within time.Duration, own bool) Vote
	// Close lets go of the connection. The next Ready makes a new one. It is called of a node, too, that was to have leases and has got
	// none; then it must not wait.
	Close()
}

// An Ask is what a flight wants of a Node for one lease.
type Ask struct {
	Lease  Lease
	Failed bool // the last time
	Vote   Vote
}

// A Loss is a lease that was taken away from the Renewer because it is lost.
type Loss struct {
	Lease Lease
	Cause error
}

// An Env is what a Renewer needs of its owner.
type Env struct {
	Now   func() time.Time     // by which leases are judged
	Bound func() time.Duration // of a dial or a flight, at most
	Lost  func(lost []Loss)    // called without the mutex
}

// A Renewer keeps leases alive. Its goroutines live only while there are any. It must not be copied.
type Renewer struct {
	env  Env
	base time.Time // what the times of shares are counted from

	// mu protects what follows, all entries, shares and flights, and the agendas of the lines. It is taken for moments only, never
	// while anything is sent. A lease's own mutex may be taken under it (Due, Lost), and never the other way round.
	mu      sync.Mutex
	lines   []*line       // of each node that has a lease
	kept    int           // entries
	judging bool          // the goroutine that signals losses lives
	wake    chan struct{} // for it, capacity 1: there is something earlier, or nothing left
	closed  bool
}

// Init must be called first.
func (r *Renewer) Init(env Env) {
	r.env, r.base = env, env.Now()
	r.wake = make(chan struct{}, 1)
}

// An Entry is a lease's place in a Renewer, a field of its owner's.
type Entry struct {
	lease   Lease
	last    error    // of the newest renewal; nil: it went well
	one     [1]share // where it has one node
	several *several // else; nil: it has one
}

type several struct {
	shares []share
	votes  []Vote // the newest of each node
}

// A share is what one node has of a lease. There is one for each lock that is kept alive: what is small stands together, for
// with it the keeper of a lock just fits into the allocator's class of 160 bytes (root's TestSizeOfAKeeper).
type share struct {
	entry    *Entry
	line     *line           // nil: it is not kept
	when     [kinds]occasion // in the line's agendas
	flight   *flight         // with a renewal of it; nil: none. It may be under way still when the share is kept no longer
	failures int32           // in a row
	urgent   bool            // it is due whatever its lease says: the node is another server
}

// A flight is what is extended in one go, or has been.
type flight struct {
	line   *line
	shares []*share
	again  bool          // a flight of one, apart: it has failed before
	spare  bool          // it takes a spare place there
	rounds int           // until all that were due when it was sent have had a place there
	landed chan struct{} // closed when nothing more will be sent for it, nor judged
}

// take puts a share, which is in no agenda of what is due, into a flight. The caller holds mu.
func (f *flight) take(s *share) {
	s.flight, s.urgent = f, false
	f.shares = append(f.shares, s)
}

// init is for an entry that was in no Renewer yet. A flight reads what it sets without the mutex.
func (e *Entry) init(x Lease, nodes int) {
	e.lease = x
	if nodes > 1 {
		e.several = &several{make([]share, nodes), make([]Vote, nodes)}
	}
	shares := e.shares()
	for i := range shares {
		shares[i].entry = e
	}
}

func (e *Entry) shares() []share {
	if e.several != nil {
		return e.several.shares
	}
	return e.one[:]
}

// isKept reports whether e is kept. The caller holds mu.
func (e *Entry) isKept() bool { return e.shares()[0].line != nil }

// Add has x renewed at these nodes, one at least, until Remove. e is its place, the same for each Add of x, with as many nodes. It
// reports whether x is kept: a Renewer that was closed keeps nothing. To add what is kept already changes nothing.
func (r *Renewer) Add(e *Entry, x Lease, nodes ...Node) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || e.isKept() {
		for _, n := range nodes {
			r.decline(n)
		}
		return !r.closed
	}
	if e.lease == nil {
		e.init(x, len(nodes))
	}
	e.last = nil
	now := r.env.Now()
	at, _ := x.Lost(now, nil) // what it says is judged by the goroutine for it
	shares := e.shares()
	for i := range shares {
		r.join(&shares[i], r.lineOf(nodes[i]), x.Due(now, i), at)
	}
	r.kept++
	if !r.judging {
		r.judging = true
		go r.judgeLosses(now)
	}
	return true
}

// lineOf is the line of a node. The caller holds mu.
func (r *Renewer) lineOf(node Node) *line {
	for _, n := range r.lines {
		if n.node == node {
			return n
		}
	}
	n := newLine(r, node)
	r.lines = append(r.lines, n)
	return n
}

// decline lets go of a node, if it is one, that was to renew what is kept no longer: nobody else would close it. The caller holds mu.
func (r *Renewer) decline(node Node) {
	if node != nil && !slices.ContainsFunc(r.lines, func(n *line) bool { return n.node == node }) {
		node.Close() // it has nothing that takes time to close
	}
}

// join puts a share into a line. The caller holds mu.
func (r *Renewer) join(s *share, n *line, due, lost time.Time) {
	s.line, s.failures, s.urgent = n, 0, false
	s.when = [kinds]occasion{toRenew: {r.at(due), nowhere}, toLose: {r.at(lost), nowhere}}
	heap.Push(&n.loss, s)
	n.hasten(s)
	if s.flight == nil { // else it is put back when that has landed
		heap.Push(&n.due, s)
	}
	n.start()
	if s.when[toRenew].place == 0 {
		wait.Wake(n.wake)
	}
	if s.when[toLose].place == 0 {
		wait.Wake(r.wake)
	}
}

// Remove has e kept no longer. No renewal of it begins after that; see Await.
func (r *Renewer) Remove(e *Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(e)
}

// remove is Remove. The caller holds mu.
func (r *Renewer) remove(e *Entry) {
	if !e.isKept() {
		return
	}
	shares := e.shares()
	for i := range shares {
		shares[i].leave()
	}
	r.kept--
	if r.kept == 0 {
		wait.Wake(r.wake)
	}
}

// leave takes a share out of its line. The caller holds mu.
func (s *share) leave() {
	n := s.line
	s.line = nil
	if place := s.when[toRenew].place; place != nowhere {
		heap.Remove(&n.due, place)
	}
	heap.Remove(&n.loss, s.when[toLose].place)
	if len(n.loss.shares) == 0 {
		wait.Wake(n.wake)
	}
}

// Await waits until no renewal of e is under way, for d at most.
func (r *Renewer) Await(e *Entry, d time.Duration) {
	if landed := r.underWay(e); landed != nil {
		wait.For(d, landed...)
	}
}

// Flying reports whether a renewal of e is under way.
func (r *Renewer) Flying(e *Entry) bool { return r.underWay(e) != nil }

// underWay is what is closed when the renewals of e have ended; nil: there are none.
func (r *Renewer) underWay(e *Entry) (landed []<-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shares := e.shares()
	for i := range shares {
		if f := shares[i].flight; f != nil {
			landed = append(landed, f.landed)
		}
	}
	return landed
}

// Kept is how many leases are kept.
func (r *Renewer) Kept() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept
}

// Close has the Renewer keep nothing any more, and returns what it has kept.
func (r *Renewer) Close() (kept []Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, n := range r.lines {
		for len(n.loss.shares) > 0 {
			e := n.loss.shares[0].entry
			kept = append(kept, e.lease)
			r.remove(e)
		}
	}
	return kept
}

// AwaitEnd waits until no line has a goroutine, for d at most.
func (r *Renewer) AwaitEnd(d time.Duration) {
	var ends []<-chan struct{}
	r.mu.Lock()
	for _, n := range r.lines {
		if n.alive {
			ends = append(ends, n.ended)
		}
	}
	r.mu.Unlock()
	if ends != nil {
		wait.For(d, ends...)
	}
}

// at is a time as shares have it.
func (r *Renewer) at(t time.Time) time.Duration { return t.Sub(r.base) }

// now is the time, and as shares have it.
func (r *Renewer) now() (time.Time, time.Duration) {
	now := r.env.Now()
	return now, r.at(now)
}
