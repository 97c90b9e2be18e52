package report

import (
	"math"
	"strconv"

	"github.com/redigolock/redigolock/internal/figures"
)

// A bar shows a figure's size, and its interval as a line. All of it is percent of the field's width; without a width
// there is no bar.
type bar struct {
	X, Width  string
	Low, High string // "" without an interval
	Axis      string // where 1 is, "" if the bar begins at 0
	Above     bool   // above 1
}

// drawBars draws bars that compare with each other.
func (l layout) drawBars(list []*field) {
	at := from0(list)
	if l.around1 {
		at = around1(list)
	}
	for _, f := range list {
		b := &f.Bar
		if !f.drawable() {
			continue
		}
		from, to := at(0), at(f.sum.Center)
		if l.around1 {
			from, b.Axis, b.Above = at(1), percent(at(1)), f.sum.Center > 1
		}
		b.X, b.Width = percent(min(from, to)), percent(math.Abs(to-from))
		if f.sum.Rounds >= figures.LeastRounds {
			b.Low, b.High = percent(at(f.sum.Low)), percent(at(f.sum.High))
		}
	}
}

// drawable says whether the figure is something to draw: finite, and above 0.
func (f *field) drawable() bool {
	return !f.Missing && f.sum.Center > 0 && !math.IsInf(f.sum.Center, 0)
}

// from0 is where a figure is on a linear scale. One interval that is far longer than all bars does not make them small:
// it is cut off.
func from0(list []*field) func(float64) float64 {
	longest, reach := 0.0, 0.0
	for _, f := range list {
		if !f.drawable() {
			continue
		}
		longest, reach = max(longest, f.sum.Center), max(reach, f.sum.Center)
		if f.sum.Rounds >= figures.LeastRounds && !math.IsNaN(f.sum.High) {
			reach = max(reach, f.sum.High)
		}
	}
	reach = min(reach, 1.5*longest)
	return func(v float64) float64 { return clamp(100 * v / reach) }
}

// around1 is where a ratio is on a logarithmic scale with 1 in its middle, which reaches to 2 at least.
func around1(list []*field) func(float64) float64 {
	reach := 1.0
	for _, f := range list {
		if f.drawable() {
			reach = max(reach, math.Abs(math.Log2(f.sum.Center)))
		}
	}
	reach *= 1.1
	return func(v float64) float64 { return clamp(50 + 50*math.Log2(v)/reach) }
}

func clamp(v float64) float64 { return min(max(v, 0), 100) }

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "%" }
