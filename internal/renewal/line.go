package renewal

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/wait"
)

const (
	maxFlight   = 1000
	aheadShare  = 64 // a renewal may be sent ttl/64 early, to travel with others
	suspendTick = time.Second

	leastPatience = 50 * time.Millisecond
	mostFloor     = 500 * time.Millisecond // of patience, for a server that is far away
)

// A line renews the shares of one node, one flight after the other.
type line struct {
	r    *Renewer
	node Node

	// Renewer.mu protects these.
	due   agenda        // but for what is in flight
	loss  agenda        // all
	alive bool          // the goroutine lives
	wake  chan struct{} // for it, capacity 1: there is something earlier, or nothing left
	ended chan struct{} // closed when the goroutine has ended
	step  step

	// What follows is the goroutine's own.
	another   <-chan struct{} // closed: the node is another server; nil: not known
	notBefore time.Time       // nothing before, for the newest dials or flights failed
	rtt       time.Duration   // what the newest flight or dial has taken
	failures  int             // of dials and of flights without any answer, in a row
	apart     *apart          // nil: not used yet
	sent      []*share
	asks      []Ask
	votes     []Vote
	outcomes  []outcome // of sent
	homes     []Node    // of the shares of a flight; nil: here
}

// A step is a dial or a flight that is under way.
type step struct {
	by    time.Time          // it ends at the latest; zero: none is under way
	least time.Duration      // it has so much time in any case
	cut   context.CancelFunc // ends it
	timer *time.Timer        // calls cut, for a lease that has come meanwhile; nil: none has
}

func newLine(r *Renewer, node Node) *line {
	return &line{r: r, node: node, due: agenda{kind: toRenew}, loss: agenda{kind: toLose}, wake: make(chan struct{}, 1)}
}

// start starts the goroutine if there is none. The caller holds mu.
func (n *line) start() {
	if n.alive {
		return
	}
	n.alive, n.ended = true, make(chan struct{})
	go n.run()
}

// run is the goroutine. If whoever it calls ends it, another goes on.
func (n *line) run() {
	empty := false
	defer func() { n.signOff(empty) }()
	defer n.node.Close()
	defer n.awaitApart()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		hooks.Turn("renew", "", "", n.node.Place()) // what else becomes due at this moment is due by now
		n.lookForAnother()
		f, next, none := n.takeDue()
		switch {
		case none:
			empty = true
			return
		case f != nil && n.node.Apart():
			n.renewApart(f)
			continue
		case f != nil:
			n.renew(f)
			continue
		}
		timer.Reset(next.Sub(n.r.env.Now()))
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.another:
		}
	}
}

// lookForAnother makes all shares due if the node is another server: what it does not have is lost, and should be known to be.
func (n *line) lookForAnother() {
	select {
	case <-n.another:
	default:
		if n.another == nil {
			n.another = n.node.Another()
		}
		return
	}
	n.another = n.node.Another() // before anything is sent
	n.notBefore, n.failures = time.Time{}, 0
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	_, now := n.r.now()
	for _, s := range n.loss.shares {
		s.urgent = true
	}
	for _, s := range n.due.shares {
		s.failures, s.when[toRenew].at = 0, now // all alike, so the heap is one still
	}
}

// signOff is the end of the goroutine, unless there is something to do again, or it was ended by others.
func (n *line) signOff(empty bool) {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	if !empty || len(n.loss.shares) > 0 {
		go n.run()
		return
	}
	n.alive = false
	n.r.lines = slices.DeleteFunc(n.r.lines, func(other *line) bool { return other == n }) // nodes come and go
	close(n.ended)
}

// takeDue takes the next flight off the agenda, or says when there will be one, or that there is nothing to keep. It takes none
// before notBefore. While a renewal is under way apart the line lives on: what is added meanwhile must not wait for that.
func (n *line) takeDue() (f *flight, next time.Time, none bool) {
	r := n.r
	r.mu.Lock()
	defer r.mu.Unlock()
	now, at := r.now()
	switch {
	case len(n.loss.shares) == 0 && !n.apart.isBusy():
		return nil, next, true
	case now.Before(n.notBefore):
		return nil, n.notBefore, false
	}
	most := maxFlight
	if n.node.Apart() {
		if most = n.roomApart(); most == 0 {
			return n.shortest(now), now.Add(lookForShort), false
		}
	}
	next = now.Add(suspendTick) // if all are under way: see apart
	for len(n.due.shares) > 0 && (f == nil || len(f.shares) < most) {
		s := n.due.shares[0]
		due := &s.when[toRenew].at
		if moved := s.nextDue(now); moved > *due { // an Extend has moved Deadline meanwhile
			*due = moved
			heap.Fix(&n.due, 0)
			continue
		}
		if f == nil && *due > at || s.takeAt() > at {
			next = r.base.Add(*due)
			break
		}
		if f == nil {
			f = &flight{line: n, landed: make(chan struct{})}
		}
		heap.Pop(&n.due)
		f.take(s)
	}
	return f, next, false
}

// takeAt is when a renewal may be sent: a little early to travel with others, but not when it is tried again.
func (s *share) takeAt() time.Duration {
	due := s.when[toRenew].at
	if s.failures > 0 {
		return due
	}
	return due - s.entry.lease.TTL()/aheadShare
}

// nextDue is when its lease is to be renewed at its node; after a failure, when to try again. A node that has voted is not asked
// again because others have not. The caller holds mu.
func (s *share) nextDue(now time.Time) time.Duration {
	if s.failures > 0 || s.urgent {
		return s.when[toRenew].at
	}
	e, r := s.entry, s.line.r
	if e.several == nil {
		return r.at(e.lease.Due(now, 0))
	}
	i := e.several.place(s)
	due := r.at(e.lease.Due(now, i))
	if v := e.several.votes[i]; v.Err == nil && !v.Start.IsZero() {
		due = max(due, r.at(v.Start.Add(v.Left/2)))
	}
	return due
}

// place is that of the node of a share.
func (e *several) place(s *share) int {
	for i := range e.shares {
		if s == &e.shares[i] {
			return i
		}
	}
	panic("renewal: a share of another lease")
}

// renew sends a flight, has its votes judged, and puts its shares back.
func (n *line) renew(f *flight) {
	n.sendAway(f)
	n.sent, n.asks, n.outcomes = append(n.sent[:0], f.shares...), n.asks[:0], n.outcomes[:0]
	defer func() { n.land(f, n.sent, n.outcomes) }()
	if len(n.sent) == 0 {
		return
	}
	err := n.ready()
	n.makeAsks() // after the dial, which may have taken its time: nothing is sent for a lock that was released
	start := n.r.env.Now()
	if err == nil {
		err = n.extend()
		n.rest(err)
	}
	for i, s := range n.sent {
		v := n.asks[i].Vote
		v.Start = start
		if !v.Answered && v.At == nil {
			v.Err = err
		}
		n.outcomes = append(n.outcomes, n.judge(s, v))
	}
	clear(n.asks)
	clear(n.votes)
}

// judge has a lease judge the vote of the node.
func (n *line) judge(s *share, v Vote) outcome {
	if v.At != nil && !v.Answered && v.Err == nil {
		return outcome{node: errElsewhere, at: v.At}
	}
	n.votes = s.cast(v, n.votes)
	return outcome{v.Err, s.entry.lease.Judge(n.votes), v.At}
}

// sendAway has the shares of a flight that other nodes have by now renewed there: they need not wait for this one.
func (n *line) sendAway(f *flight) {
	n.homes = n.homes[:0]
	isAway := false
	for _, s := range f.shares {
		home := n.node.Elsewhere(s.entry.lease)
		isAway = isAway || home != nil
		n.homes = append(n.homes, home)
	}
	if !isAway {
		return
	}
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	here := f.shares[:0]
	for i, s := range f.shares {
		if n.homes[i] == nil || s.line != n {
			here = append(here, s)
			n.r.decline(n.homes[i])
			continue
		}
		s.flight, s.urgent = nil, true // it is due, also where its lease says that it is not
		s.move(n.homes[i])
		heap.Push(&s.line.due, s)
		wait.Wake(s.line.wake)
	}
	clear(n.homes)
	f.shares = here
}

// move has a share, which is in no agenda of what is due, renewed at another node. The caller holds mu.
func (s *share) move(to Node) {
	n := s.line
	heap.Remove(&n.loss, s.when[toLose].place)
	if len(n.loss.shares) == 0 {
		wait.Wake(n.wake)
	}
	s.line = n.r.lineOf(to)
	heap.Push(&s.line.loss, s)
	s.line.hasten(s)
	s.line.start()
}

// makeAsks makes the asks for what is to be sent, and leaves out what is kept no longer.
func (n *line) makeAsks() {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	n.sent = n.stillKept(n.sent)
	for _, s := range n.sent {
		n.asks = append(n.asks, Ask{Lease: s.entry.lease, Failed: s.failures > 0})
	}
}

// stillKept leaves out what is not kept any longer, or not here. The caller holds mu.
func (n *line) stillKept(shares []*share) []*share {
	return slices.DeleteFunc(shares, func(s *share) bool { return s.line != n })
}

// ready has the node dial if there is no connection that works.
func (n *line) ready() error {
	begin := time.Now()
	ctx, by := n.begin(begin)
	defer n.end()
	err := n.node.Ready(ctx, by)
	if err != nil {
		n.rest(err)
		return err
	}
	n.rtt = max(n.rtt, time.Since(begin))
	return nil
}

// extend sends what n.asks has.
func (n *line) extend() error {
	if len(n.asks) == 0 {
		return nil
	}
	begin := time.Now()
	ctx, by := n.begin(begin)
	defer n.end()
	err := n.node.Extend(ctx, by, n.asks)
	if err == nil {
		n.rtt = time.Since(begin)
	}
	return err
}

// rest has the next dial wait after one that failed, or that led to a server that answered nothing: the pauses of all leases
// together would be a storm of dials.
func (n *line) rest(err error) {
	if err == nil || len(n.asks) > 0 && n.asks[0].Vote.Answered {
		n.failures = 0
		return
	}
	n.notBefore = n.r.env.Now().Add(wait.Pause(n.failures))
	n.failures++
}

// begin begins a step at now. It has as much time as the line has patience: see the package's comment.
func (n *line) begin(now time.Time) (ctx context.Context, by time.Time) {
	ctx, cut := context.WithCancel(context.Background())
	least := max(leastPatience<<min(n.failures, 2), min(4*n.rtt, mostFloor))
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	n.step = step{least: least, cut: cut}
	patience := n.r.env.Bound()
	if len(n.loss.shares) > 0 {
		patience = min(patience, n.patienceFor(n.loss.shares[0]))
	}
	n.step.by = now.Add(patience)
	return ctx, n.step.by
}

// patienceFor is how long a step may take for the sake of a lease: half of the time until it is lost. The caller holds mu.
func (n *line) patienceFor(s *share) time.Duration {
	_, now := n.r.now()
	return max((s.when[toLose].at-now)/2, n.step.least)
}

// hasten has the step that is under way end earlier if a share that has come meanwhile has less time. The caller holds mu.
func (n *line) hasten(s *share) {
	x := &n.step
	if x.by.IsZero() {
		return
	}
	now := time.Now()
	patience := n.patienceFor(s)
	if !now.Add(patience).Before(x.by) {
		return
	}
	x.by = now.Add(patience)
	if x.timer == nil {
		x.timer = time.AfterFunc(patience, x.cut)
	} else {
		x.timer.Reset(patience)
	}
}

// end ends a step.
func (n *line) end() {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	if n.step.timer != nil {
		n.step.timer.Stop()
	}
	n.step.cut()
	n.step = step{}
}

// cast notes the vote of a node, and returns those that its lease judges, in into.
func (s *share) cast(v Vote, into []Vote) []Vote {
	e := s.entry
	if e.several == nil {
		return append(into[:0], v)
	}
	r := s.flight.line.r
	r.mu.Lock()
	defer r.mu.Unlock()
	e.several.votes[e.several.place(s)] = v
	return append(into[:0], e.several.votes...)
}

// An outcome is what became of a renewal: for its node, which is asked again after a failure, and for its lease, which may be
// renewed well though this node has failed.
type outcome struct {
	node, lease error
	at          Node // of its Vote
}

var (
	errNotJudged = errors.New("the goroutine was ended")
	errElsewhere = errors.New("another node has it") // says nothing of the lease
)

// notJudged stands for what became of a renewal after an Observer has ended the goroutine.
var notJudged = outcome{node: errNotJudged, lease: errNotJudged}

// land has the shares of a flight be renewed again. outcomes are those of what was sent.
func (n *line) land(f *flight, sent []*share, outcomes []outcome) {
	r := n.r
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.env.Now()
	for i, s := range sent {
		o := notJudged
		if i < len(outcomes) {
			o = outcomes[i]
		}
		s.renewed(now, o)
		if o.at != nil && o.at != n.node && s.line == n {
			s.move(o.at)
		} else {
			r.decline(o.at)
		}
	}
	for _, s := range f.shares {
		s.flight = nil
		if s.line == nil {
			continue
		}
		heap.Push(&s.line.due, s)
		if s.line != n || n.apart != nil {
			wait.Wake(s.line.wake)
		}
	}
	close(f.landed)
}

// renewed notes how a renewal went, and when the next is due. The caller holds mu.
func (s *share) renewed(now time.Time, o outcome) {
	if s.line == nil {
		return
	}
	if o.node != errElsewhere {
		s.entry.last = o.lease
	}
	due := &s.when[toRenew].at
	if o.node == nil {
		s.failures = 0
		if *due = s.nextDue(now); s.urgent { // since it was sent
			*due = s.line.r.at(now)
		}
		return
	}
	*due = s.line.r.at(now.Add(wait.Pause(int(s.failures))))
	if s.failures++; o.at != nil && o.at.Apart() {
		s.failures = 0 // that goes by redirects itself
	}
}
