package renewal

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/wait"
)

const (
	// maxApart is how many leases are renewed at a time over a Node that is Apart, and maxSpare how many more that have little time.
	maxApart = 8
	maxSpare = 8
	// lookForShort is the pause between two looks for those while all places are taken.
	lookForShort = 20 * time.Millisecond
	// mostRounds is how many rounds of renewals are told from one another.
	mostRounds = 64
)

// An apart has the renewals of a Node over which each goes for itself. It may lead to many nodes, and which a lease is at is not
// known. One that hangs must not cost the leases at another. So a renewal has no more than its share of the time that is left for its
// lease, and those that have failed take half of the places at most: what has not failed never waits for those that fail again and
// again. Where all places are taken, one that has not failed, and could be lost before there is one again, takes a spare place.
type apart struct {
	all    chan struct{} // a place for each renewal under way
	failed chan struct{} // of these, for those that have failed before
	spare  chan struct{} // not of these
	flying sync.WaitGroup
}

func newApart() *apart {
	return &apart{all: make(chan struct{}, maxApart), failed: make(chan struct{}, maxApart/2), spare: make(chan struct{}, maxSpare)}
}

// isBusy reports whether a renewal is under way.
func (a *apart) isBusy() bool { return a != nil && len(a.all)+len(a.spare) > 0 }

func (n *line) awaitApart() {
	if n.apart != nil {
		n.apart.flying.Wait()
	}
}

// roomApart is how many places there are for a flight. The caller holds mu.
func (n *line) roomApart() int {
	if n.apart == nil {
		n.apart = newApart()
	}
	return maxApart - len(n.apart.all)
}

// shortest takes a flight of the lease that would be lost first, of those that take a spare place; nil: there is none. The caller holds
// mu.
func (n *line) shortest(now time.Time) *flight {
	var found *share
	at, soon := n.r.at(now), n.r.at(now.Add(2*n.r.env.Bound()))
	for _, s := range n.due.shares {
		if s.when[toRenew].at > at || s.failures > 0 || s.when[toLose].at > soon || s.nextDue(now) > at {
			continue
		}
		if found == nil || s.when[toLose].at < found.when[toLose].at {
			found = s
		}
	}
	if found == nil || len(n.apart.spare) == maxSpare {
		return nil
	}
	f := &flight{line: n, spare: true, landed: make(chan struct{})}
	heap.Remove(&n.due, found.when[toRenew].place)
	f.take(found)
	return f
}

// rounds is in how many of them all that is due by now has a place. The caller holds mu.
func (n *line) rounds(now time.Time) int {
	due := 0
	at := n.r.at(now)
	for next := []int{0}; len(next) > 0 && due < mostRounds*maxApart; { // in a heap, what is below one that is not due is not, either
		i := next[len(next)-1]
		next = next[:len(next)-1]
		if i < len(n.due.shares) && n.due.shares[i].when[toRenew].at <= at {
			due++
			next = append(next, 2*i+1, 2*i+2)
		}
	}
	return 1 + due/maxApart
}

// renewApart sends the renewals of a flight, each as a flight of its own. It waits for none.
func (n *line) renewApart(f *flight) {
	for _, f := range n.split(f) {
		n.sendApart(f)
	}
}

// split makes each share of a flight a flight of its own: who waits for one need not wait for the others.
func (n *line) split(f *flight) (flights []*flight) {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	now, _ := n.r.now()
	rounds := n.rounds(now)
	for _, s := range f.shares {
		s.flight = &flight{line: n, shares: []*share{s}, again: s.failures > 0, spare: f.spare, rounds: rounds, landed: make(chan struct{})}
		flights = append(flights, s.flight)
	}
	close(f.landed)
	return flights
}

// sendApart sends a flight of one, for which there is a place. One that has failed before is put off where there is none for it.
func (n *line) sendApart(f *flight) {
	a := n.apart
	places := []chan struct{}{a.all}
	switch {
	case f.spare:
		places[0] = a.spare
	case f.again:
		if len(a.failed) == cap(a.failed) {
			n.putOff(f)
			return
		}
		places = append(places, a.failed)
	}
	for _, p := range places {
		p <- struct{}{} // only this goroutine fills them
	}
	a.flying.Go(func() {
		defer func() {
			for _, p := range places {
				<-p
			}
			wait.Wake(n.wake) // it may wait for a place, or for the last of them
		}()
		n.renewAlone(f)
	})
}

// renewAlone renews one share and has its vote judged.
func (n *line) renewAlone(f *flight) {
	var outcomes []outcome
	sent := n.keptOf(f) // not what was released since it was taken
	defer func() { n.land(f, sent, outcomes) }()
	for _, s := range sent {
		x := s.entry.lease
		v := n.node.ExtendAlone(x, n.patienceApart(s, f.rounds), f.again)
		outcomes = append(outcomes, outcome{v.Err, x.Judge(s.cast(v, nil)), v.At})
	}
}

// keptOf is what is kept still of a flight.
func (n *line) keptOf(f *flight) []*share {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	return n.stillKept(slices.Clone(f.shares))
}

// putOff has a renewal wait for a place.
func (n *line) putOff(f *flight) {
	n.r.mu.Lock()
	for _, s := range f.shares {
		s.when[toRenew].at = n.r.at(n.r.env.Now().Add(wait.First))
	}
	n.r.mu.Unlock()
	n.land(f, nil, nil)
}

// patienceApart is the part of the time until a lease is lost that a renewal has when there are so many rounds of them.
func (n *line) patienceApart(s *share, rounds int) time.Duration {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	_, now := n.r.now()
	left := s.when[toLose].at - now
	return min(n.r.env.Bound(), max(left/2/time.Duration(rounds), leastPatience))
}
