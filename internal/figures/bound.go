package figures

import "slices"

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

// together are all bounds of some rounds: what is said of the greatest of them, or of so few that there is no interval.
func together(bounds []Bound) (all Bound) {
	for _, b := range bounds {
		all |= b
	}
	return all
}

// A censoring is a percentile of what had not all ended when the time was up. If more than lies above the percentile is
// longer than what was seen, it is a lower bound.
type censoring struct {
	kind, unit string
	unended    string  // the unit that counts what had not ended, or tells its share
	above      float64 // the share that lies above the percentile
}

// beyond is the share of the waits that are longer than their 99th percentile: more than a hundredth if that is not known.
const beyond = "wait-beyond"

var censorings = []censoring{
	{"Load", "p50-sec", "unserved", 0.5},
	{"Load", "p99-sec", "unserved", 0.01},
	{"Load", "p99.9-sec", "unserved", 0.001},
	{"Contention", "wait-p50-sec", beyond, 0.5},
	{"Contention", "wait-p99-sec", beyond, 0.01},
	{"Contention", "wait-p99-rounds", beyond, 0.01},
}

// fewest arrivals are in a round of a Load whose p99.9 is told: of fewer it is one of the few greatest.
const fewest = 10_000

// bounds are those of a unit in each round; nil if all are exact, or if the file does not tell.
func (c *Cell) bounds(unit string) []Bound {
	i := slices.IndexFunc(censorings, func(x censoring) bool { return x.kind == c.Kind && x.unit == unit })
	if i < 0 {
		return nil
	}
	x := censorings[i]
	unended, all := c.Values(x.unended), c.arrived()
	if x.unended == beyond {
		all = slices.Repeat([]float64{1}, len(unended))
	}
	if len(unended) != len(all) || len(unended) != len(c.Values(unit)) {
		return nil
	}
	list := make([]Bound, len(all))
	for i := range list {
		if unended[i] > x.above*all[i]*(1+1e-9) { // what was multiplied is rounded
			list[i] = AtLeast
		}
		if unit == "p99.9-sec" && all[i] < fewest {
			list[i] = Unknown
		}
	}
	return list
}
