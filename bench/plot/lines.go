package main

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// maxLines is how many lines a chart can have and stay readable.
const maxLines = 9

// A line is a way's points, in the order of x.
type line struct {
	name   string
	points []point
	smooth bool // a curve: without marks
}

// A point is a median with its interval, which may be infinite. It is hollow where it says something else than the
// others, which the chart's notes explain.
type point struct {
	x, y, low, high float64
	hollow          bool
}

// A panel is one pair of axes. A chart has one, or two beside each other with the same ways.
type panel struct {
	title string
	x, y  axis
	lines []line
}

// panels is a chart of lines. Their names stand at their ends, or, if listed, in the order of the lines from above.
type panels struct {
	list   []panel
	listed bool
}

const linesHeight = 290

// choose keeps, in all panels, the ways that matter most. It says which it leaves out, and which the last panel, at
// whose lines the names stand, does not have.
func choose(list []panel) (notes []string) {
	var kept []string
	for _, p := range list {
		for _, l := range p.lines {
			if !slices.Contains(kept, l.name) {
				kept = append(kept, l.name)
			}
		}
	}
	slices.SortFunc(kept, byRank)
	if len(kept) > maxLines {
		notes = append(notes, fmt.Sprintf("Not drawn, but in the tables: %s.", labels(kept[maxLines:])))
		kept = kept[:maxLines]
	}
	missing := slices.Clone(kept)
	for i := range list {
		list[i].lines = slices.DeleteFunc(list[i].lines, func(l line) bool { return !slices.Contains(kept, l.name) })
	}
	for _, l := range list[len(list)-1].lines {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == l.name })
	}
	if len(missing) > 0 {
		notes = append(notes, fmt.Sprintf("Only at the left: %s.", labels(missing)))
	}
	return notes
}

// lines are the lines of a unit of cells over an x.
func lines(cells []cell, x func(cell) (float64, error), at func(cell, float64) (point, bool)) ([]line, error) {
	var list []line
	for _, name := range names(cells) {
		l := line{name: name}
		for _, c := range cells {
			if c.way != name {
				continue
			}
			v, err := x(c)
			if err != nil {
				return nil, err
			}
			if p, ok := at(c, v); ok {
				l.points = append(l.points, p)
			}
		}
		slices.SortFunc(l.points, func(a, b point) int { return cmpFloat(a.x, b.x) })
		if len(l.points) > 0 {
			list = append(list, l)
		}
	}
	return list, nil
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (ps panels) draw(c draw.Canvas, t theme) {
	var names []string
	for _, p := range ps.list {
		for _, l := range p.lines {
			if !slices.Contains(names, l.name) {
				names = append(names, l.name)
			}
		}
	}
	var plots []placed
	for _, pn := range ps.list {
		plots = append(plots, pn.plot(t))
	}
	data := sideBySide(draw.Crop(c, 0, -labelsWidth(names, t), 0, 0), plots, 10, t)
	last := len(plots) - 1
	ps.label(c, data[last], plots[last].Plot, names, t)
}

// plot makes gonum's plot of a panel.
func (pn panel) plot(t theme) placed {
	p := newPlot(t)
	xLow, xHigh, yLow, yHigh := pn.ranges()
	for i := len(pn.lines) - 1; i >= 0; i-- { // the most important on top
		pn.lines[i].add(p, t)
	}
	pn.x.fit(&p.X, xLow, xHigh)
	pn.y.fit(&p.Y, yLow, yHigh)
	return placed{p, pn.title, pn.x.label, pn.y.label}
}

// newPlot is an empty plot in the colours of the theme.
func newPlot(t theme) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Width = t.faint, 0.6
		a.Tick.Label.Color, a.Tick.Label.Font = t.text, style(tickSize, false, t).Font
		a.Tick.Color, a.Tick.Width, a.Tick.Length = t.faint, 0.6, 4
		a.Padding = 0
	}
	grid := plotter.NewGrid()
	grid.Vertical = draw.LineStyle{Color: t.grid, Width: 0.6}
	grid.Horizontal = grid.Vertical
	p.Add(grid)
	return p
}

// ranges are those of the points and of their intervals, as far as those are finite and can be shown.
func (pn panel) ranges() (xLow, xHigh, yLow, yHigh float64) {
	xLow, yLow = math.Inf(1), math.Inf(1)
	xHigh, yHigh = math.Inf(-1), math.Inf(-1)
	for _, l := range pn.lines {
		for _, pt := range l.points {
			xLow, xHigh = min(xLow, pt.x), max(xHigh, pt.x)
			yLow, yHigh = min(yLow, pt.y), max(yHigh, pt.y)
			if pt.interval(pn.y.log) {
				yLow, yHigh = min(yLow, pt.low), max(yHigh, pt.high)
			}
		}
	}
	return
}

// interval says whether the point has one that can be drawn.
func (pt point) interval(log bool) bool {
	return !math.IsInf(pt.low, 0) && !math.IsInf(pt.high, 0) && pt.low < pt.high && (!log || pt.low > 0)
}

func (l line) add(p *plot.Plot, t theme) {
	w := wayOf(l.name)
	xys := make(plotter.XYs, len(l.points))
	for i, pt := range l.points {
		xys[i].X, xys[i].Y = pt.x, pt.y
	}
	p.Add(&plotter.Line{XYs: xys, LineStyle: w.line(t)})
	if l.smooth {
		return
	}
	bars := &plotter.YErrorBars{LineStyle: draw.LineStyle{Color: t.colours[w.hue], Width: 0.9}, CapWidth: 5}
	for i, pt := range l.points {
		if !pt.interval(false) {
			continue
		}
		bars.XYs = append(bars.XYs, xys[i])
		bars.YErrors = append(bars.YErrors, struct{ Low, High float64 }{pt.y - pt.low, pt.high - pt.y})
	}
	if len(bars.XYs) > 0 {
		p.Add(bars)
	}
	p.Add(&plotter.Scatter{XYs: xys, GlyphStyleFunc: func(i int) draw.GlyphStyle {
		return w.glyph(t, l.points[i].hollow)
	}})
}
