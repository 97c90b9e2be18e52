package report

import (
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"

	"github.com/redigolock/redigolock/internal/figures"
)

// A field is a figure of a row.
type field struct {
	Missing  bool
	Value    string
	Interval string // or how many rounds there are, if they are too few
	Versus   string // as a multiple of the baseline
	Same     bool   // no difference to the baseline was found; of a ratio: to 1
	Best     bool
	Perhaps  bool // it has the best median, of too few rounds
	bound    bool // it is only a lower bound
	Bar      bar
	sum      figures.Summary
}

// fields are the figures of a column, without bars; a baseline below 0 is none.
func (l layout) fields(rows []string, c column, baseline int) []*field {
	list := make([]*field, len(c.cells))
	for i, cell := range c.cells {
		if !has(cell, c.metric.unit) {
			list[i] = &field{Missing: true}
			continue
		}
		sum, _ := cell.Summary(c.metric.unit)
		list[i] = l.figure(sum, c.metric.unit)
		if cell.MedianCensored(c.metric.unit) {
			list[i].censor()
		}
		if baseline >= 0 && i != baseline {
			list[i].compare(cell, c.cells[baseline], c.metric.unit)
		}
	}
	for _, i := range l.best(rows, c) {
		list[i].Perhaps = list[i].sum.Rounds < figures.LeastRounds
		list[i].Best = !list[i].Perhaps
	}
	return list
}

func has(c *figures.Cell, unit string) bool { return c != nil && len(c.Values(unit)) > 0 }

func (l layout) figure(sum figures.Summary, unit string) *field {
	f := &field{Value: figures.Format(sum.Center, unit), Interval: figures.Plural(sum.Rounds, "round"), sum: sum}
	if sum.Rounds >= figures.LeastRounds {
		f.Interval = sum.Interval(unit)
		f.Same = l.around1 && sum.Includes1()
	}
	if strings.HasSuffix(unit, "/s") {
		f.Value += "/s"
	}
	return f
}

// censor shows a lower bound, which has no interval, and says nothing of a difference.
func (f *field) censor() {
	f.Value, f.Interval, f.Same, f.bound = "≥ "+f.Value, "had not all ended", false, true
}

// compare says how the cell differs from the baseline, if it does.
func (f *field) compare(cell, base *figures.Cell, unit string) {
	if f.bound || base == nil || base.MedianCensored(unit) || !enough(cell, base, unit) {
		return
	}
	if !differ(cell, base, unit) {
		f.Same = true
		return
	}
	of, _ := cell.Summary(unit)
	to, _ := base.Summary(unit)
	if ratio := of.Center / to.Center; of.Center >= 0 && to.Center > 0 && !math.IsInf(ratio, 0) {
		f.Versus = figures.Significant(ratio) + "×"
	}
}

// best are the rows with the best median, and those that differ from it by nothing that was found. They are none where
// that is all, and where nobody can say what is best.
func (l layout) best(rows []string, c column) []int {
	if l.apart || c.metric.better == neither {
		return nil
	}
	var in []int
	for i, cell := range c.cells {
		if has(cell, c.metric.unit) && (!l.noLock || !isFloor(rows[i])) {
			in = append(in, i)
		}
	}
	if len(in) < 2 {
		return nil
	}
	first := slices.MinFunc(in, c.order)
	if c.cells[first].MedianCensored(c.metric.unit) {
		return nil
	}
	best := slices.DeleteFunc(slices.Clone(in), func(i int) bool {
		known := enough(c.cells[i], c.cells[first], c.metric.unit)
		return c.cells[i].MedianCensored(c.metric.unit) || c.order(i, first) != 0 && (!known || differ(c.cells[i], c.cells[first], c.metric.unit))
	})
	if len(best) == len(in) {
		return nil
	}
	return best
}

// order is that of two rows by their medians, the better one first.
func (c column) order(a, b int) int {
	of, _ := c.cells[a].Summary(c.metric.unit)
	to, _ := c.cells[b].Summary(c.metric.unit)
	order := 0
	switch {
	case of.Center < to.Center:
		order = -1
	case of.Center > to.Center:
		order = 1
	}
	if c.metric.better == more {
		order = -order
	}
	return order
}

// enough says whether both have rounds enough for a comparison.
func enough(a, b *figures.Cell, unit string) bool {
	return min(len(a.Values(unit)), len(b.Values(unit))) >= figures.LeastRounds
}

// differ is the verdict of the Mann-Whitney U test, as benchstat has it.
func differ(a, b *figures.Cell, unit string) bool {
	c := benchmath.AssumeNothing.Compare(sample(a, unit), sample(b, unit))
	return c.P < c.Alpha
}

func sample(c *figures.Cell, unit string) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(c.Values(unit)), &benchmath.DefaultThresholds) // it sorts what it is given
}
