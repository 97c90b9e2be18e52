package sim

// A Sum says what some seeds came to. TestSeeds writes it with -sum, and internal/sim/sum adds several up.
type Sum struct {
	Modes      map[string]Figures
	Kinds      map[string]int // of faults
	Violations map[string]int // by the promise that was broken
	Redirects  map[string]int // what the nodes of clusters have answered instead of a reply
	OverlapsBy map[string]int // of Quorums, by the servers that may have lost the token of one of the two
}

// Figures are counts of one mode.
type Figures struct {
	Seeds, Holds, Calls, Commands, Updates, Faults int
	Lost                                           int // locks whose KeepAlive ended with ErrLost
	Overlaps                                       int // of two holders, in worlds that lose data or move a clock
	Ghosts                                         int // entries of a queue that nobody waits for
	Violations                                     int // promises broken
}

// NewSum is a Sum of nothing.
func NewSum() Sum {
	return Sum{Modes: map[string]Figures{}, Kinds: map[string]int{}, Violations: map[string]int{}, Redirects: map[string]int{}, OverlapsBy: map[string]int{}}
}

// Add adds what other seeds came to.
func (s Sum) Add(o Sum) {
	for mode, f := range o.Modes {
		sum := s.Modes[mode]
		sum.Add(f)
		s.Modes[mode] = sum
	}
	for kind, n := range o.Kinds {
		s.Kinds[kind] += n
	}
	for what, n := range o.Violations {
		s.Violations[what] += n
	}
	for word, n := range o.Redirects {
		s.Redirects[word] += n
	}
	for servers, n := range o.OverlapsBy {
		s.OverlapsBy[servers] += n
	}
}

// Add adds other counts.
func (f *Figures) Add(o Figures) {
	f.Seeds += o.Seeds
	f.Holds += o.Holds
	f.Calls += o.Calls
	f.Commands += o.Commands
	f.Updates += o.Updates
	f.Faults += o.Faults
	f.Lost += o.Lost
	f.Overlaps += o.Overlaps
	f.Ghosts += o.Ghosts
	f.Violations += o.Violations
}
