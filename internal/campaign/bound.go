package campaign

import (
	"math"
	"slices"

	"github.com/redigolock/redigolock/internal/figures"
)

// A Bound says that a figure is not what it seems, but that what was to be measured is at least, or at most, as much.
type Bound uint8

const (
	Exact   Bound = 0
	AtLeast Bound = 1
	AtMost  Bound = 2
	Unknown       = AtLeast | AtMost // as the quotient of two that are AtLeast
)

// String is what stands before the figure.
func (b Bound) String() string {
	return map[Bound]string{AtLeast: "≥ ", AtMost: "≤ "}[b]
}

// inverse is the bound that 1/x has if x has b.
func (b Bound) inverse() Bound { return b&AtLeast<<1 | b&AtMost>>1 }

// fewest arrivals are in a round of a Load whose p99.9 is told: of fewer it is one of the few greatest.
const fewest = 10_000

// bounds are those of a unit in each round; nil if all are exact, or if the file does not tell.
func (f found) bounds(unit string) []Bound {
	if f.Cell == nil {
		return nil
	}
	censored := f.Censored(unit)
	list := make([]Bound, len(censored))
	for i := range list {
		if censored[i] {
			list[i] = AtLeast
		}
		if unit == "p99.9-sec" && f.Arrived()[i] < fewest {
			list[i] = Unknown
		}
	}
	return list
}

// quotients are the bounds of one round's figure over that of another cell in the same round.
func quotients(of, to []Bound) []Bound {
	list := make([]Bound, max(len(of), len(to)))
	for i := range of {
		list[i] |= of[i]
	}
	for i := range to {
		list[i] |= to[i].inverse()
	}
	return list
}

// bounded is a summary of values of which some are bounds: its interval is as wide as what those may be in truth makes it,
// and on a side without an end it is a bound itself. So a round or two that are beyond the interval anyway do no harm.
func bounded(sum figures.Summary, values []float64, bounds []Bound) (figures.Summary, Bound) {
	lowest, highest := slices.Clone(values), slices.Clone(values)
	for i, b := range bounds {
		if b&AtMost != 0 {
			lowest[i] = math.Inf(-1)
		}
		if b&AtLeast != 0 {
			highest[i] = math.Inf(1)
		}
	}
	bound := Exact
	if low := figures.Summarize(lowest).Low; math.IsInf(low, 0) {
		bound |= AtMost
	} else {
		sum.Low = low
	}
	if high := figures.Summarize(highest).High; math.IsInf(high, 0) {
		bound |= AtLeast
	} else {
		sum.High = high
	}
	return sum, bound
}

// together are all bounds of some rounds: what is said of the greatest of them, or of so few that there is no interval.
func together(bounds []Bound) Bound {
	all := Exact
	for _, b := range bounds {
		all |= b
	}
	return all
}
