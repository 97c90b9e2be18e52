package main

import (
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A column is one value of each way.
type column struct {
	x      axis
	bars   bool // from zero, with the value written at the end; else dots
	values map[string]point
}

// rows is a chart with a row for each way, of whose values each column has one. It has room for all ways.
type rows struct {
	names   []string // from above
	columns []column
}

const rowHeight = 19

// rowsOf is a chart of the ways of cells, in the order of a unit: the greatest above if descending.
func rowsOf(cells []cell, unit string, descending bool) rows {
	r := rows{names: names(cells)}
	middle := map[string]float64{}
	for _, c := range cells {
		pt, _ := c.point(0, unit)
		middle[c.way] = pt.y
	}
	slices.SortStableFunc(r.names, func(a, b string) int {
		if descending {
			a, b = b, a
		}
		return cmpFloat(middle[a], middle[b])
	})
	return r
}

// add puts a column of a unit at the right, if any of the cells has it.
func (r *rows) add(cells []cell, unit string, c column) bool {
	c.values = map[string]point{}
	for _, cell := range cells {
		if pt, ok := cell.point(0, unit); ok && (pt.y > 0 || !c.x.log) {
			c.values[cell.way] = pt
		}
	}
	if len(c.values) > 0 {
		r.columns = append(r.columns, c)
	}
	return len(c.values) > 0
}

// hollow explains hollow points, if there are any.
func (r rows) hollow() string {
	for _, c := range r.columns {
		for _, pt := range c.values {
			if pt.hollow {
				return lowerBound
			}
		}
	}
	return ""
}

func (r rows) height() float64 { return float64(len(r.names))*rowHeight + 34 }

func (r rows) draw(c draw.Canvas, t theme) {
	var left vg.Length
	for _, name := range r.names {
		left = max(left, style(labelSize, true, t).Width(wayOf(name).label))
	}
	left += 12
	var plots []placed
	for _, col := range r.columns {
		plots = append(plots, placed{Plot: r.plot(col, t), x: col.x.label})
	}
	for i, data := range sideBySide(draw.Crop(c, left, 0, 0, 0), plots, 14, t) {
		_, toY := plots[i].Transforms(&data)
		for row, name := range r.names {
			y := toY(r.at(row))
			if i == 0 {
				label := style(labelSize, wayOf(name).ours, t)
				label.XAlign = text.XRight
				c.FillText(label, vg.Point{X: c.Min.X + left - 8, Y: y}, wayOf(name).label)
			}
			r.columns[i].write(data, plots[i].Plot, name, y, t)
		}
	}
}

// at is the height of a row on the axis, of which the first is the highest.
func (r rows) at(row int) float64 { return float64(len(r.names) - 1 - row) }

func (r rows) plot(col column, t theme) *plot.Plot {
	p := newPlot(t)
	low, high := col.ranges()
	for row, name := range r.names {
		pt, ok := col.values[name]
		if !ok {
			continue
		}
		w := wayOf(name)
		at := plotter.XYs{{X: pt.y, Y: r.at(row)}}
		if col.bars {
			p.Add(bar{at[0], w.line(t).Color})
		}
		if pt.interval(col.x.log) {
			col.addInterval(p, pt, at, t.colours[w.hue], t)
		}
		if !col.bars {
			p.Add(&plotter.Scatter{XYs: at, GlyphStyle: w.glyph(t, pt.hollow)})
		}
	}
	col.x.fit(&p.X, low, high)
	p.Y.Min, p.Y.Max = -0.6, float64(len(r.names))-0.4
	var ticks plot.ConstantTicks
	for row := range r.names {
		if !col.bars {
			ticks = append(ticks, plot.Tick{Value: r.at(row), Label: " "}) // for the grid
		}
	}
	p.Y.Tick.Marker, p.Y.Tick.Length = ticks, 0
	return p
}

// addInterval draws an interval, in a bar with a rim, so that it is seen in a bar of its own colour.
func (col column) addInterval(p *plot.Plot, pt point, at plotter.XYs, ink color.Color, t theme) {
	bars := plotter.XErrorBars{XYs: at, XErrors: plotter.XErrors{{Low: pt.y - pt.low, High: pt.high - pt.y}}, CapWidth: 6}
	if col.bars {
		rim := bars
		rim.LineStyle = draw.LineStyle{Color: t.background, Width: 3}
		p.Add(&rim)
		ink = t.text
	}
	bars.LineStyle = draw.LineStyle{Color: ink, Width: 1.1}
	p.Add(&bars)
}

// ranges leave room at the right for the values that bars end with.
func (col column) ranges() (low, high float64) {
	first := true
	for _, pt := range col.values {
		from, to := pt.y, pt.y
		if pt.interval(col.x.log) {
			from, to = pt.low, pt.high
		}
		if first {
			low, high, first = from, to, false
		}
		low, high = min(low, from), max(high, to)
	}
	if col.bars {
		high *= 1.25
	}
	return low, high
}

// write says what the column has of a way: the value at the end of a bar, or that there is none.
func (col column) write(data draw.Canvas, p *plot.Plot, name string, y vg.Length, t theme) {
	pt, ok := col.values[name]
	if !ok {
		c := faint(noteSize, t)
		data.FillText(c, vg.Point{X: data.Min.X + 6, Y: y}, "not measured")
		return
	}
	if !col.bars {
		return
	}
	end := pt.y
	if pt.interval(false) {
		end = pt.high
	}
	toX, _ := p.Transforms(&data)
	data.FillText(style(labelSize, wayOf(name).ours, t), vg.Point{X: toX(end) + 6, Y: y}, col.x.format(pt.y))
}

// A bar lies from zero to a value.
type bar struct {
	to     plotter.XY
	colour color.Color
}

func (b bar) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	low, high := toY(b.to.Y-0.33), toY(b.to.Y+0.33)
	zero, end := toX(0), toX(b.to.X)
	c.FillPolygon(b.colour, []vg.Point{{X: zero, Y: low}, {X: end, Y: low}, {X: end, Y: high}, {X: zero, Y: high}})
}
