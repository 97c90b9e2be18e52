package figures

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"
)

// A Figure is what the rounds of a cell say of one unit, or the ratios of two cells' rounds. It prints itself with its
// interval at a confidence of 95 %: "5.53 µs ± 2 %", where the interval's farther end is meant as benchstat has it, but
// "5.53 µs (4.10–61.2 µs)" where that is more than twice the median; a ratio as "0.31 (0.30–0.33)", and as "~ (0.95–1.04)"
// where its interval includes 1: no difference was found. A bound has no interval: "≥ 396 ms", the median; but a ratio's is
// the safe end of its interval, "≤ 0.33", so that it holds, too.
type Figure struct {
	Summary
	Unit   string
	Ratio  bool
	Bound  Bound
	values []float64
	bounds []Bound // of each value; nil if all are exact
}

// Absent is printed for what was not measured, or cannot be known.
const Absent = "–"

// Figure is what the cell's rounds say of a unit; false where the cell does not have it.
func (c *Cell) Figure(unit string) (Figure, bool) {
	values := c.values[unit]
	return newFigure(values, c.bounds(unit), unit, strings.HasSuffix(unit, "ratio")), len(values) > 0
}

// newFigure has an interval as wide as what the bounds among the values may be in truth makes it, and is a bound itself on a
// side without an end. So a round or two that are beyond the interval anyway do no harm.
func newFigure(values []float64, bounds []Bound, unit string, ratio bool) Figure {
	f := Figure{Summarize(values), unit, ratio, Exact, values, bounds}
	if len(values) < LeastRounds {
		f.Bound = together(bounds)
		return f
	}
	lowest, highest := slices.Clone(values), slices.Clone(values)
	for i, b := range bounds {
		if b&AtMost != 0 {
			lowest[i] = math.Inf(-1)
		}
		if b&AtLeast != 0 {
			highest[i] = math.Inf(1)
		}
	}
	if low := Summarize(lowest).Low; math.IsInf(low, 0) {
		f.Bound |= AtMost
	} else {
		f.Low = low
	}
	if high := Summarize(highest).High; math.IsInf(high, 0) {
		f.Bound |= AtLeast
	} else {
		f.High = high
	}
	return f
}

// Over is the ratio to another figure, paired by round: both must be from the same interleaved rounds. False where they
// cannot be paired, or where one of the others is 0.
func (f Figure) Over(other Figure) (Figure, bool) {
	if len(f.values) != len(other.values) || slices.Contains(other.values, 0) {
		return Figure{}, false
	}
	ratios, bounds := make([]float64, len(f.values)), make([]Bound, max(len(f.bounds), len(other.bounds)))
	for i := range ratios {
		ratios[i] = f.values[i] / other.values[i]
	}
	for i := range f.bounds {
		bounds[i] |= f.bounds[i]
	}
	for i := range other.bounds {
		bounds[i] |= other.bounds[i].inverse()
	}
	return newFigure(ratios, bounds, f.Unit+" ratio", true), true
}

// Worst is the largest of all rounds.
func (f Figure) Worst() Figure {
	v := slices.Max(f.values)
	return Figure{Summary{v, v, v, len(f.values)}, f.Unit, f.Ratio, together(f.bounds), f.values, f.bounds}
}

// Differs is the verdict of the Mann-Whitney U test on two figures, as benchstat has it; false for ok if there are too few
// rounds of one of them, or if one is a bound.
func (f Figure) Differs(other Figure) (differs, ok bool) {
	if min(f.Rounds, other.Rounds) < LeastRounds || f.Bound != Exact || other.Bound != Exact {
		return false, false
	}
	c := benchmath.AssumeNothing.Compare(sample(f.values), sample(other.values))
	return c.P < c.Alpha, true
}

// Ends are between what it is with a confidence of 95 %, as far as is known.
func (f Figure) Ends() (low, high float64) {
	low, high = f.Low, f.High
	if f.Bound&AtMost != 0 || !f.hasInterval() {
		low = math.Inf(-1)
	}
	if f.Bound&AtLeast != 0 || !f.hasInterval() {
		high = math.Inf(1)
	}
	return low, high
}

func (f Figure) String() string {
	switch {
	case f.Bound == Unknown:
		return Absent
	case f.Ratio && f.Bound == AtLeast:
		return f.Bound.String() + Format(f.Low, f.Unit)
	case f.Ratio && f.Bound == AtMost:
		return f.Bound.String() + Format(f.High, f.Unit)
	case f.Bound != Exact, !f.hasInterval():
		return f.Median()
	case f.Ratio && f.Includes1():
		return fmt.Sprintf("~ (%s)", f.Interval(f.Unit))
	case f.Ratio:
		return f.Full()
	case f.Low == f.High || f.Center == 0:
		return f.Median()
	case f.stray() >= 1:
		return f.Full()
	}
	return f.Median() + " ± " + f.PlusMinus()
}

// Full is the median and the whole interval, also of a ratio of which no difference to 1 was found.
func (f Figure) Full() string {
	if f.Bound != Exact || !f.hasInterval() {
		return f.String()
	}
	return fmt.Sprintf("%s (%s)", f.Median(), f.Interval(f.Unit))
}

// Median is without the interval.
func (f Figure) Median() string {
	if f.Bound == Unknown {
		return Absent
	}
	return f.Bound.String() + Format(f.Center, f.Unit)
}

// Within is how many times something that takes a measured time can be done in so many seconds, one after the other.
func (f Figure) Within(seconds float64) string { return Significant(seconds / f.Center) }

// After is how often in a second something can be done that takes a measured time, and so many seconds more.
func (f Figure) After(seconds float64) string { return Significant(1 / (f.Center + seconds)) }
