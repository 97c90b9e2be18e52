package renewal

import "time"

// What an agenda is about.
const (
	toRenew = iota
	toLose
	kinds
)

// An agenda has the shares of a line, for container/heap, in the order of one of their occasions.
type agenda struct {
	kind   int
	shares []*share
}

// An occasion is when something is to be done for a share, as a time since Renewer.base, and its place in the agenda of that.
type occasion struct {
	at    time.Duration
	place int
}

const nowhere = -1 // the place of what is in no agenda

func (a *agenda) Len() int { return len(a.shares) }

func (a *agenda) Less(i, j int) bool {
	return a.shares[i].when[a.kind].at < a.shares[j].when[a.kind].at
}

func (a *agenda) Swap(i, j int) {
	a.shares[i], a.shares[j] = a.shares[j], a.shares[i]
	a.shares[i].when[a.kind].place, a.shares[j].when[a.kind].place = i, j
}

func (a *agenda) Push(x any) {
	s := x.(*share)
	s.when[a.kind].place = len(a.shares)
	a.shares = append(a.shares, s)
}

func (a *agenda) Pop() any {
	last := len(a.shares) - 1
	s := a.shares[last]
	a.shares[last], a.shares = nil, a.shares[:last]
	s.when[a.kind].place = nowhere
	return s
}
