// Package ballot is what is known of a lock that several nodes vote about: at which of them its token is, may be, or is not. It sends
// nothing, starts no goroutine and reads no clock: who asks the nodes tells it what they have said, and learns what is to be done. It is a
// leaf.
package ballot

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Holding is since when a node has the token, for how long from then, and when that ends for those who rely on it.
type Holding struct {
	Start time.Time
	Left  time.Duration
	Ends  time.Time
}

// A Ballot has a seat for each node. At first all nodes are sought: asked to take the token in. A seat belongs to who seeks it; when it is
// not sought, and the ballot is over, to who ended it, and must be vacated: nothing may be left at any node.
type Ballot struct {
	owed *atomic.Int64

	mu    sync.Mutex // protects what follows; taken for moments only
	over  bool
	seats []seat
}

// A seat is what is known of the token at one node.
type seat struct {
	sought  bool // somebody asks the node to take the token in
	leaving bool // a Release asks it to remove the token
	owed    bool // one of these is counted, since its call has returned
	empty   bool // the node has said that it does not have the token, first at since
	since   time.Time
	held    Holding   // zero: not known to be there
	asked   time.Time // what was asked then has said that
}

// New makes a Ballot for so many nodes, each of which is sought. owed counts what is under way at nodes though its call has returned.
func New(nodes int, owed *atomic.Int64) *Ballot {
	b := &Ballot{owed: owed, seats: make([]seat, nodes)}
	for i := range b.seats {
		b.seats[i].sought = true
	}
	return b
}

// Sought is called when a node has been asked to take the token in, with what it has; zero: it has not, or that is not known. It reports
// whether the caller has to vacate the seat, as the ballot is over.
func (b *Ballot) Sought(node int, h Holding) (vacate bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.seats[node]
	if s.sought = false; h != (Holding{}) {
		s.held, s.empty, s.asked = h, false, h.Start
	}
	b.count(s, false)
	return b.over
}

// End ends the ballot, and returns the nodes that are not sought, whose seats the caller has to vacate.
func (b *Ballot) End() (resting []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for i := range b.seats {
		if !b.seats[i].sought {
			resting = append(resting, i)
		}
	}
	return resting
}

// IsOver reports whether it has ended.
func (b *Ballot) IsOver() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// Held is what a node has, as far as is known; zero: nothing.
func (b *Ballot) Held(node int) Holding {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seats[node].held
}

// Leaving is called before a node is asked to remove the token, and Left after that.
func (b *Ballot) Leaving(node int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seats[node].leaving = true
}

func (b *Ballot) Left(node int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.seats[node]
	s.leaving = false
	b.count(s, false)
}

// Returned is called when the call that has ended the ballot returns: what is still under way is owed.
func (b *Ballot) Returned() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.seats {
		if s := &b.seats[i]; s.sought || s.leaving {
			b.count(s, true)
		}
	}
}

// count counts what is owed at a seat once. The caller holds mu.
func (b *Ballot) count(s *seat, owed bool) {
	switch {
	case owed && !s.owed:
		b.owed.Add(1)
	case !owed && s.owed:
		b.owed.Add(-1)
	}
	s.owed = owed
}

// Has notes that a node has extended the token, unless it is known what one that was asked later has said.
func (b *Ballot) Has(node int, h Holding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.seats[node]
	if !h.Start.After(s.asked) {
		return
	}
	if s.empty, s.asked = false, h.Start; h.Ends.After(s.held.Ends) {
		s.held = h
	}
}

// Lacks notes that a node which was asked then has said that it does not have the token, unless it is known what one that was asked later
// has said. Once the ballot is over it changes nothing: a node that is not asked because of that has not said anything, and its seat must
// be vacated.
func (b *Ballot) Lacks(node int, asked time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.seats[node]
	if b.over || !asked.After(s.asked) {
		return
	}
	if !s.empty {
		s.since = asked
	}
	s.held, s.empty, s.asked = Holding{}, true, asked
}

// Common is the holding that so many nodes have at least, zero if there is none; and how many have said that they have none.
func (b *Ballot) Common(most int) (h Holding, empty int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Holding
	for i := range b.seats {
		if s := &b.seats[i]; s.held != (Holding{}) {
			all = append(all, s.held)
		} else if s.empty {
			empty++
		}
	}
	if len(all) < most {
		return h, empty
	}
	slices.SortFunc(all, func(x, y Holding) int { return y.Ends.Compare(x.Ends) })
	return all[most-1], empty
}

// Retake returns the nodes that came back empty and may take the token in again, which are sought from then on: those since whose loss so
// many others have been asked, and have it. Before that it may be that a majority has lost it, which is found out one node after the
// other, and that another had the lock meanwhile.
func (b *Ballot) Retake(majority int) (nodes []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.seats {
		s := &b.seats[i]
		if b.over || s.sought || !s.empty || b.confirmed(s.since) < majority {
			continue
		}
		s.sought = true
		nodes = append(nodes, i)
	}
	return nodes
}

// confirmed is how many nodes have the token that were asked after since. The caller holds mu.
func (b *Ballot) confirmed(since time.Time) (n int) {
	for i := range b.seats {
		if s := &b.seats[i]; s.held != (Holding{}) && s.asked.After(since) {
			n++
		}
	}
	return n
}
