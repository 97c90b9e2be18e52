package renewal

import (
	"slices"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/wait"
)

// maxApart is how many leases are renewed at a time over a Node that is Apart.
const maxApart = 8

// An apart has the renewals of a Node over which each goes for itself. It may lead to many nodes, and which a lease is at is not
// known. One that hangs must not cost the leases at another. So a renewal has no more than its share of the time that is left for its
// lease, and those that have failed take half of the places at most: what has not failed never waits for those that fail again and
// again.
type apart struct {
	all    chan struct{} // a place for each renewal under way
	failed chan struct{} // of these, for those that have failed before
	flying sync.WaitGroup
}

// isBusy reports whether a renewal is under way.
func (a *apart) isBusy() bool { return a != nil && len(a.all) > 0 }

func (n *line) awaitApart() {
	if n.apart != nil {
		n.apart.flying.Wait()
	}
}

// renewApart sends the renewals of a flight, each as a flight of its own. It returns when the last of them is under way.
func (n *line) renewApart(f *flight) {
	if n.apart == nil {
		n.apart = &apart{all: make(chan struct{}, maxApart), failed: make(chan struct{}, maxApart/2)}
	}
	flights := n.split(f)
	rounds := (len(flights) + maxApart - 1) / maxApart
	for _, again := range []bool{false, true} {
		for _, f := range flights {
			if f.again == again {
				n.sendApart(f, rounds)
			}
		}
	}
}

// split makes each share of a flight a flight of its own: who waits for one need not wait for the others.
func (n *line) split(f *flight) (flights []*flight) {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	for _, s := range f.shares {
		s.flight = &flight{line: n, shares: []*share{s}, again: s.failures > 0, landed: make(chan struct{})}
		flights = append(flights, s.flight)
	}
	close(f.landed)
	return flights
}

// sendApart waits for a place and sends a flight of one. One that has failed before is put off where there is none for it.
func (n *line) sendApart(f *flight, rounds int) {
	a := n.apart
	if f.again {
		select {
		case a.failed <- struct{}{}:
		default:
			n.putOff(f)
			return
		}
	}
	a.all <- struct{}{}
	a.flying.Go(func() {
		defer func() {
			<-a.all
			if f.again {
				<-a.failed
			}
			wait.Wake(n.wake) // it may wait for the last of them
		}()
		n.renewAlone(f, rounds)
	})
}

// renewAlone renews one share and has its vote judged.
func (n *line) renewAlone(f *flight, rounds int) {
	var outcomes []outcome
	sent := n.keptOf(f) // else nothing is sent: it may have waited for its place
	defer func() { n.land(f, sent, outcomes) }()
	for _, s := range sent {
		x := s.entry.lease
		v := n.node.ExtendAlone(x, n.patienceApart(s, rounds), f.again)
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
