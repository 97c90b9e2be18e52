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

// A censoring is a percentile of what had not all ended when the time was up. If more than lies above the percentile is
// longer than what was seen, it is a lower bound.
type censoring struct {
	kind, unit string
	unended    string  // the unit that counts them, or tells their share
	above      float64 // the share that lies above the percentile
	fewest     float64 // in a round with fewer, the percentile is one of the few greatest: Unknown
}

// beyond is the share of the waits that are longer than their 99th percentile: more than a hundredth if that is not known.
const beyond = "wait-beyond"

var censorings = []censoring{
	{"Load", "p50-sec", "unserved", 0.5, 0},
	{"Load", "p99-sec", "unserved", 0.01, 0},
	{"Load", "p99.9-sec", "unserved", 0.001, 10_000},
	{"Contention", "wait-p99-sec", beyond, 0.01, 0},
	{"Contention", "wait-p99-rounds", beyond, 0.01, 0},
}

// bounds are those of a unit in each round; nil if all are exact, or if the file does not tell.
func (f found) bounds(unit string) []Bound {
	for _, c := range censorings {
		if f.Cell != nil && c.kind == f.Kind && c.unit == unit {
			return c.bounds(f.Cell)
		}
	}
	return nil
}

func (c censoring) bounds(cell *figures.Cell) []Bound {
	unended, all := cell.Values(c.unended), cell.Arrived()
	if c.unended == beyond {
		all = slices.Repeat([]float64{1}, len(unended))
	}
	if len(unended) != len(all) {
		return nil
	}
	list := make([]Bound, len(all))
	for i := range list {
		if unended[i] > c.above*all[i]*(1+1e-9) { // what was multiplied is rounded
			list[i] = AtLeast
		}
		if all[i] < c.fewest {
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

// boundOfMedian is the same for the median alone, of however few rounds.
func boundOfMedian(bounds []Bound) Bound {
	all := Exact
	for _, bit := range []Bound{AtLeast, AtMost} {
		n := 0
		for _, b := range bounds {
			n += int(min(b&bit, 1))
		}
		if n > 0 && 2*n >= len(bounds) {
			all |= bit
		}
	}
	return all
}
