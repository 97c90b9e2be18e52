package campaign

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A Quantity is what the rounds of a cell say, or the ratios of two cells' rounds. It prints itself with its interval
// at a confidence of 95 %: "5.53 µs ± 2 %", where the interval's farther end is meant as benchstat has it, but
// "5.53 µs (4.10–61.2 µs)" where that is more than twice the median; a ratio as
// "0.31 (0.30–0.33)", and as "~ (0.95–1.04)" where its interval includes 1: no difference was found. A bound has no
// interval: "≥ 396 ms", the median; but a ratio's is the safe end of its interval, "≤ 0.33", so that it holds, too.
type Quantity struct {
	figures.Summary
	Unit  string
	Ratio bool
	Bound Bound
}

func (q Quantity) String() string {
	switch {
	case q.Bound == Unknown:
		return absent
	case q.Ratio && q.Bound == AtLeast:
		return q.Bound.String() + figures.Format(q.Low, q.Unit)
	case q.Ratio && q.Bound == AtMost:
		return q.Bound.String() + figures.Format(q.High, q.Unit)
	case q.Bound != Exact:
		return q.Median()
	case q.Ratio && q.Includes1():
		return fmt.Sprintf("~ (%s)", q.Interval(q.Unit))
	case q.Ratio:
		return q.full()
	case q.Low == q.High || q.Center == 0:
		return q.Median()
	case q.Stray() >= 1:
		return q.full()
	}
	return q.Median() + " ± " + q.PlusMinus()
}

// full is the median and the whole interval.
func (q Quantity) full() string {
	if q.Bound != Exact {
		return q.String()
	}
	return fmt.Sprintf("%s (%s)", q.Median(), q.Interval(q.Unit))
}

// Median is without the interval.
func (q Quantity) Median() string {
	if q.Bound == Unknown {
		return absent
	}
	return q.Bound.String() + figures.Format(q.Center, q.Unit)
}

// ends are between what it is with a confidence of 95 %, as far as is known.
func (q Quantity) ends() (low, high float64) {
	low, high = q.Low, q.High
	if q.Bound&AtMost != 0 {
		low = math.Inf(-1)
	}
	if q.Bound&AtLeast != 0 {
		high = math.Inf(1)
	}
	return low, high
}

// values are those of all rounds of a unit of the one cell.
func (c *Campaign) values(kind, unit string, where []string) ([]float64, found, error) {
	cell, err := c.one(kind, where)
	if err != nil {
		return nil, cell, err
	}
	values := cell.Values(unit)
	if len(values) == 0 {
		return nil, cell, &missingError{c.dir + "/" + cell.file, cell.Name, where, unit}
	}
	if len(values) < cell.Rounds {
		return nil, cell, &partialError{c.dir + "/" + cell.file, cell.Name, unit, len(values), cell.Rounds}
	}
	if len(values) < c.least {
		return nil, cell, fmt.Errorf("campaign: %s/%s: %s has %d rounds of %s, at least %d are wanted",
			c.dir, cell.file, cell.Name, len(values), unit, c.least)
	}
	return values, cell, nil
}

// Cell is a unit of the only cell of a kind whose name has all of where.
func (c *Campaign) Cell(kind, unit string, where ...string) (Quantity, error) {
	values, cell, err := c.values(kind, unit, where)
	if err != nil {
		return Quantity{}, err
	}
	return c.quantity(values, cell.bounds(unit), unit, false, cell)
}

// quantity refuses an interval without an end: with fewer than 6 rounds only Median and Worst are to be had.
func (c *Campaign) quantity(values []float64, bounds []Bound, unit string, ratio bool, cell found) (Quantity, error) {
	sum := figures.Summarize(values)
	if math.IsInf(sum.Low, 0) || math.IsInf(sum.High, 0) || math.IsNaN(sum.Low+sum.Center+sum.High) {
		return Quantity{}, fmt.Errorf("campaign: %s/%s: %s has an infinite interval of %s in %d rounds",
			c.dir, cell.file, cell.Name, unit, len(values))
	}
	sum, bound := bounded(sum, values, bounds)
	return Quantity{sum, unit, ratio || strings.HasSuffix(unit, "ratio"), bound}, nil
}

// Median is without the interval, so that few rounds will do.
func (c *Campaign) Median(kind, unit string, where ...string) (string, error) {
	values, cell, err := c.values(kind, unit, where)
	sum, bound := figures.Summarize(values), together(cell.bounds(unit))
	if len(values) >= figures.LeastRounds { // then as Cell has it
		_, bound = bounded(sum, values, cell.bounds(unit))
	}
	return Quantity{sum, unit, false, bound}.Median(), err
}

// Center is the median as a number.
func (c *Campaign) Center(kind, unit string, where ...string) (float64, error) {
	values, _, err := c.values(kind, unit, where)
	return figures.Summarize(values).Center, err
}

// Worst is the largest of all rounds.
func (c *Campaign) Worst(kind, unit string, where ...string) (Quantity, error) {
	values, cell, err := c.values(kind, unit, where)
	if err != nil {
		return Quantity{}, err
	}
	v := slices.Max(values)
	return Quantity{figures.Summary{Center: v, Low: v, High: v, Rounds: len(values)}, unit, false, together(cell.bounds(unit))}, nil
}

// PerSecond is how many ops there were in a second, out of sec/op.
func (c *Campaign) PerSecond(kind string, where ...string) (Quantity, error) {
	values, cell, err := c.values(kind, "sec/op", where)
	if err != nil {
		return Quantity{}, err
	}
	return c.quantity(inverse(values), nil, "op/s", false, cell)
}

// within is how many times something that takes a measured time can be done in so many seconds.
func (c *Campaign) within(seconds float64, kind, unit string, where ...string) (string, error) {
	return c.derived(kind, unit, where, func(sec float64) float64 { return seconds / sec })
}

// after is how often in a second something can be done that takes a measured time, and so many seconds more.
func (c *Campaign) after(seconds float64, kind, unit string, where ...string) (string, error) {
	return c.derived(kind, unit, where, func(sec float64) float64 { return 1 / (sec + seconds) })
}

// derived is arithmetic on a median.
func (c *Campaign) derived(kind, unit string, where []string, f func(float64) float64) (string, error) {
	v, err := c.Center(kind, unit, where...)
	if err != nil {
		return "", err
	}
	return figures.Significant(f(v)), nil
}

// CellRatio is how many times a unit of the cell with a that of the cell with b is; both have all of where. They are
// paired by round, so they must be of one file, whose rounds were interleaved.
func (c *Campaign) CellRatio(kind, unit, a, b string, where ...string) (Quantity, error) {
	return c.ratio(kind, unit, strings.Fields(a), strings.Fields(b), where)
}

func (c *Campaign) ratio(kind, unit string, a, b, where []string) (Quantity, error) {
	if kind == "AcquireRelease" && unit == "sec/op" {
		if values, cell, err := c.measuredRatio(a, b, where); err != nil || values != nil {
			if err != nil {
				return Quantity{}, err
			}
			return c.quantity(values, nil, "ratio", true, cell)
		}
	}
	of, ofCell, err := c.values(kind, unit, slices.Concat(where, a))
	if err != nil {
		return Quantity{}, err
	}
	to, toCell, err := c.values(kind, unit, slices.Concat(where, b))
	if err != nil {
		return Quantity{}, err
	}
	if ofCell.file != toCell.file || len(of) != len(to) {
		return Quantity{}, fmt.Errorf("campaign: %s: %d rounds of %s in %s cannot be paired with %d rounds of %s in %s",
			c.dir, len(of), ofCell.Name, ofCell.file, len(to), toCell.Name, toCell.file)
	}
	if zeros := countZeros(to); zeros > 0 { // as of a rival that has served none
		return Quantity{}, &partialError{c.dir + "/" + toCell.file, toCell.Name, unit + " above zero", len(to) - zeros, len(to)}
	}
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return c.quantity(ratios, quotients(ofCell.bounds(unit), toCell.bounds(unit)), unit+" ratio", true, ofCell)
}

func countZeros(values []float64) (n int) {
	for _, v := range values {
		if v == 0 {
			n++
		}
	}
	return n
}

// measuredRatio are the ratios that were measured as such, either way round, with short rounds close to each other: they
// are better than what can be computed from the long rounds of AcquireRelease. None if there are none.
func (c *Campaign) measuredRatio(a, b, where []string) ([]float64, found, error) {
	of, to := approach(a), approach(b)
	if of == "" || to == "" {
		return nil, found{}, nil
	}
	where = slices.DeleteFunc(slices.Clone(where), func(w string) bool { return strings.HasPrefix(w, "release") })
	for _, pair := range [][2]string{{of, to}, {to, of}} {
		w := slices.Concat(where, []string{"of=" + pair[0], "to=" + pair[1]})
		if len(c.find("Ratio", w)) == 0 {
			continue
		}
		values, cell, err := c.values("Ratio", "ratio", w)
		if pair[0] != of {
			values = inverse(values)
		}
		return values, cell, err
	}
	return nil, found{}, nil
}

// approach is that which is the only key of where, but for the usual release.
func approach(where []string) string {
	name := ""
	for _, w := range where {
		if value, ok := strings.CutPrefix(w, "approach="); ok {
			name = value
		} else if w != "release=lua" && w != "release~lua" {
			return ""
		}
	}
	return name
}

func inverse(values []float64) []float64 {
	list := make([]float64, len(values))
	for i, v := range values {
		list[i] = 1 / v
	}
	return list
}
