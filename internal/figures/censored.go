package figures

import "slices"

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
	{"Contention", "wait-p99-sec", beyond, 0.01},
	{"Contention", "wait-p99-rounds", beyond, 0.01},
}

// Censored says of each round whether a unit is only a lower bound there; nil: of none, or the file does not tell.
func (c *Cell) Censored(unit string) []bool {
	i := slices.IndexFunc(censorings, func(x censoring) bool { return x.kind == c.Kind && x.unit == unit })
	if i < 0 {
		return nil
	}
	x := censorings[i]
	unended, all := c.Values(x.unended), c.Arrived()
	if x.unended == beyond {
		all = slices.Repeat([]float64{1}, len(unended))
	}
	if len(unended) != len(all) {
		return nil
	}
	list := make([]bool, len(all))
	for i := range list {
		list[i] = unended[i] > x.above*all[i]*(1+1e-9) // what was multiplied is rounded
	}
	return list
}

// MedianCensored is whether the median of a unit is only a lower bound, as it is in half of the rounds or more.
func (c *Cell) MedianCensored(unit string) bool {
	n := 0
	for _, censored := range c.Censored(unit) {
		if censored {
			n++
		}
	}
	return n > 0 && 2*n >= c.Rounds
}
