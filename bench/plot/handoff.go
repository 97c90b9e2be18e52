package main

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"

	"github.com/redigolock/redigolock/internal/figures"
)

// handoff is the distribution of the time of a hand-off, for the cell that most ways were measured in.
func handoff(c *campaign) (*chart, error) {
	if len(c.logs) == 0 {
		return nil, absence("there is no *.hlog")
	}
	histograms := map[string]*logged{}
	var found []*figures.Cell
	for _, l := range slices.Concat(oneFile(c.logs, func(l *logged) *figures.Cell { return l.Cell })...) {
		if l.Kind == "Contention" && l.histogram.TotalCount() > 0 {
			histograms[l.Name] = l
			found = append(found, l.Cell)
		}
	}
	cells, otherServers := cellsOf(found)
	if len(cells) == 0 {
		return nil, absence("no *.hlog has a hand-off of Contention")
	}
	cells = common(cells, "64/4/0s", "waiters", "processes", "hold")
	var list []line
	fewest := int64(math.MaxInt64)
	for _, c := range cells {
		list = append(list, histograms[c.Name].curve(c.way))
		fewest = min(fewest, histograms[c.Name].histogram.TotalCount())
	}
	one := []panel{{
		x:     axis{label: "time of a hand-off", log: true, format: duration},
		y:     axis{label: "share of hand-offs that took no longer", to: nines(maxPercentile), ticks: percentiles()},
		lines: list,
	}}
	leftOut := choose(one)
	slices.SortStableFunc(one[0].lines, func(a, b line) int { return cmpFloat(a.median(), b.median()) })
	return &chart{
		title: "Hand-off: from a release until another waiter has the lock",
		subtitle: []string{condition(cells[0], cells[0].Key("waiters")) +
			". Further left is faster; the steeper, the steadier.", machine(c.figuresOf(cells))},
		notes: sentences(leftOut, fmt.Sprintf("All rounds together; at least %d hand-offs in each line.", fewest),
			otherServers),
		height: linesHeight,
		body:   panels{listed: true, list: one}.draw,
	}, nil
}

// figuresOf are the cells of the same names that have the settings of their files.
func (c *campaign) figuresOf(cells []cell) []cell {
	var list []cell
	for _, logged := range cells {
		for _, f := range c.find("Contention") {
			if f.Name == logged.Name {
				list = append(list, cell{f, logged.way})
			}
		}
	}
	return list
}

const maxPercentile = 99.9

// nines is where a percentile is on the axis: 90 %, 99 % and 99.9 % are as far from each other, so that tails are seen.
func nines(percentile float64) float64 { return -math.Log10(1 - percentile/100) }

func percentiles() []plot.Tick {
	var ticks []plot.Tick
	for _, p := range []float64{0, 50, 75, 90, 95, 99, 99.5, maxPercentile} {
		ticks = append(ticks, plot.Tick{Value: nines(p), Label: fmt.Sprintf("%g %%", p)})
	}
	return ticks
}

// curve is the percentiles of a histogram, at equal steps of the axis.
func (l *logged) curve(way string) line {
	const steps = 150
	curve := line{name: way, smooth: true}
	for i := range steps + 1 {
		y := nines(maxPercentile) * float64(i) / steps
		percentile := 100 * (1 - math.Pow(10, -y))
		sec := float64(l.histogram.ValueAtPercentile(percentile)) / 1e9
		if sec > 0 { // a logarithmic axis has no zero
			curve.points = append(curve.points, point{x: sec, y: y, low: y, high: y})
		}
	}
	return curve
}

func (l line) median() float64 {
	for _, pt := range l.points {
		if pt.y >= nines(50) {
			return pt.x
		}
	}
	return math.Inf(1)
}
