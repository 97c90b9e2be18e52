package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"github.com/redigolock/redigolock/internal/figures"
)

// A chart says from which cells of a file it is made, and how.
type chart struct {
	name, title, file string
	kind              string // of the cells
	where             []string
	units             []string
	draw              func(*drawing, []wayOf, theme) error
}

var charts = []chart{
	{"throughput", "Locks that nobody else wants", "rivals.txt", "AcquireRelease", nil, []string{"acq/s"}, drawThroughput},
	{"fairness", "64 waiters of one key in 4 processes", "contention-rivals.txt", "Contention",
		[]string{"waiters=64", "processes=4", "hold=0s"}, []string{"jain", "wait-p99-sec"}, drawFairness},
	{"load-hot", "Latency under load on one hot key", "hot.txt", "Load", []string{"keys=hot"}, []string{"p99-sec"}, drawLoad},
	{"keepalive", "Cost of keeping a lock alive", "keepalive.txt", "KeepAlive", nil,
		[]string{"cpu-sec/renewal", "server-cpu-sec/renewal"}, drawKeepAlive},
}

// A value is a median with its interval, which is the median where there is none.
type value struct {
	mid, low, high float64
	bound          bool
}

func valueOf(c *figures.Cell, unit string) value {
	f, _ := c.Figure(unit)
	v := value{f.Center, f.Low, f.High, f.Bound != figures.Exact}
	if math.IsInf(v.low, 0) || math.IsInf(v.high, 0) {
		v.low, v.high = v.mid, v.mid
	}
	return v
}

// A scale says where on its axis a value is. Gonum's own logarithmic scale is not used: it pads the plot as if the axis's
// name were at its end.
type scale func(float64) float64

func linear(v float64) float64 { return v }

func (v value) on(s scale) value { return value{s(v.mid), s(v.low), s(v.high), v.bound} }

// A point is a value over another, each on its scale.
type point struct{ x, y value }

// add draws the points of a way, and puts it into the legend.
func (w wayOf) add(d *drawing, points []point, t theme) {
	xys := make(plotter.XYs, len(points))
	across, up := make(plotter.XErrors, len(points)), make(plotter.YErrors, len(points))
	for i, pt := range points {
		xys[i].X, xys[i].Y = pt.x.mid, pt.y.mid
		across[i].Low, across[i].High = pt.x.mid-pt.x.low, pt.x.high-pt.x.mid
		up[i].Low, up[i].High = pt.y.mid-pt.y.low, pt.y.high-pt.y.mid
	}
	thin := draw.LineStyle{Color: t.colours[w.hue], Width: 0.8}
	line := &plotter.Line{XYs: xys, LineStyle: w.line(t)}
	marks := &plotter.Scatter{XYs: xys, GlyphStyle: w.glyph(t, false)}
	marks.GlyphStyleFunc = func(i int) draw.GlyphStyle { return w.glyph(t, points[i].x.bound || points[i].y.bound) }
	d.Add(&plotter.XErrorBars{XYs: xys, XErrors: across, LineStyle: thin, CapWidth: 3},
		&plotter.YErrorBars{XYs: xys, YErrors: up, LineStyle: thin, CapWidth: 3})
	if len(points) > 1 {
		d.Add(line)
		d.entry(w.label(), line, &plotter.Scatter{GlyphStyle: marks.GlyphStyle})
	} else {
		d.entry(w.label(), &plotter.Scatter{GlyphStyle: marks.GlyphStyle})
	}
	d.Add(marks)
}

// over adds each way's values of a unit by a key of its cells.
func over(d *drawing, list []wayOf, key string, x scale, y func(*figures.Cell) value, t theme) (xs []float64, err error) {
	for _, w := range list {
		var points []point
		for _, c := range w.cells {
			n, err := c.Number(key)
			if err != nil {
				return nil, err
			}
			points = append(points, point{value{n, n, n, false}.on(x), y(c)})
			xs = append(xs, n)
		}
		slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.x.mid, b.x.mid) })
		w.add(d, points, t)
	}
	slices.Sort(xs)
	return slices.Compact(xs), nil
}

func drawThroughput(d *drawing, list []wayOf, t theme) error {
	for i := range list { // a release is by script where there are several
		list[i].cells = slices.DeleteFunc(list[i].cells, func(c *figures.Cell) bool { return c.Key("release") != "lua" })
	}
	d.X.Label.Text, d.Y.Label.Text = "goroutines, each with a key of its own", figures.KindOf("AcquireRelease").Word("acq/s").Name
	xs, err := over(d, list, "goroutines", math.Log10, func(c *figures.Cell) value { return valueOf(c, "acq/s") }, t)
	d.X.Tick.Marker = at(xs, math.Log10, number)
	d.Y.Min, d.Y.Tick.Marker = 0, labelled{plot.DefaultTicks{}, number}
	return err
}

func drawFairness(d *drawing, list []wayOf, t theme) error {
	d.X.Label.Text = "wait p99 (hollow: it is longer)"
	d.Y.Label.Text = "fairness (1: equal shares)"
	for _, w := range list {
		w.add(d, []point{{valueOf(w.cells[0], "wait-p99-sec").on(math.Log10), valueOf(w.cells[0], "jain")}}, t)
	}
	decades(&d.X)
	d.Y.Min, d.Y.Max = 0, 1.05
	return nil
}

func drawLoad(d *drawing, list []wayOf, t theme) error {
	d.X.Label.Text = "arrivals per second, whatever the server does"
	d.Y.Label.Text = "latency p99 (hollow: it is longer)"
	xs, err := over(d, list, "rate", linear, func(c *figures.Cell) value { return valueOf(c, "p99-sec").on(math.Log10) }, t)
	d.X.Min, d.X.Tick.Marker = 0, at(xs, linear, number)
	decades(&d.Y)
	return err
}

// drawKeepAlive has the cells with the most locks.
func drawKeepAlive(d *drawing, list []wayOf, t theme) error {
	most := 0.0
	for _, w := range list {
		for _, c := range w.cells {
			n, err := c.Number("locks")
			if err != nil {
				return err
			}
			most = max(most, n)
		}
	}
	sides := []struct {
		name, unit string
		hue        hue
		values     []value
	}{{name: "server’s CPU", unit: "server-cpu-sec/renewal", hue: sky}, {name: "client’s CPU", unit: "cpu-sec/renewal", hue: blue}}
	var names []string
	for _, w := range slices.Backward(list) { // the first is above
		for _, c := range w.cells {
			if n, _ := c.Number("locks"); n == most {
				names = append(names, w.label())
				for i := range sides {
					sides[i].values = append(sides[i].values, valueOf(c, sides[i].unit))
				}
			}
		}
	}
	for i, side := range sides {
		bars, err := addBars(d, side.values, 0.13*float64(2*i-1), draw.LineStyle{Color: t.text, Width: 0.8})
		if err != nil {
			return err
		}
		bars.Color = t.colours[side.hue]
		d.entry(side.name, bars)
	}
	d.NominalY(names...)
	d.Y.Tick.Label.Font.Size = tickSize
	d.X.Label.Text = fmt.Sprintf("for each renewal, of %s locks due together", number(most))
	d.X.Min, d.X.Tick.Marker = 0, labelled{plot.DefaultTicks{}, duration}
	return nil
}

// addBars adds one for each value, from the row below upwards, a share of a row higher.
func addBars(d *drawing, list []value, higher float64, interval draw.LineStyle) (*plotter.BarChart, error) {
	values, xys, errs := make(plotter.Values, len(list)), make(plotter.XYs, len(list)), make(plotter.XErrors, len(list))
	for i, v := range list {
		values[i] = v.mid
		xys[i].X, xys[i].Y = v.mid, float64(i)+higher
		errs[i].Low, errs[i].High = v.mid-v.low, v.high-v.mid
	}
	bars, err := plotter.NewBarChart(values, barHeight)
	if err != nil {
		return nil, err
	}
	bars.Horizontal, bars.XMin, bars.LineStyle.Width = true, higher, 0
	d.Add(bars, &plotter.XErrorBars{XYs: xys, XErrors: errs, LineStyle: interval, CapWidth: 3})
	return bars, nil
}

// decades makes an axis of logarithms of seconds go from one power of ten to another, so that two have a label.
func decades(a *plot.Axis) {
	a.Min, a.Max = math.Floor(a.Min), math.Ceil(a.Max)
	var list plot.ConstantTicks
	for e := a.Min; e <= a.Max; e++ {
		list = append(list, plot.Tick{Value: e, Label: duration(math.Pow(10, e))})
		for digit := 2.0; digit < 10 && e < a.Max; digit++ {
			list = append(list, plot.Tick{Value: e + math.Log10(digit)})
		}
	}
	a.Tick.Marker = list
}

// at has ticks where something was measured.
func at(xs []float64, s scale, format func(float64) string) plot.Ticker {
	var list plot.ConstantTicks
	for _, x := range xs {
		list = append(list, plot.Tick{Value: s(x), Label: format(x)})
	}
	return list
}

// labelled ticks have other labels.
type labelled struct {
	plot.Ticker
	format func(float64) string
}

func (l labelled) Ticks(low, high float64) []plot.Tick {
	list := l.Ticker.Ticks(low, high)
	for i := range list {
		if list[i].Label != "" {
			list[i].Label = l.format(list[i].Value)
		}
	}
	return list
}

// number is short: 150k.
func number(v float64) string {
	if v >= 1000 {
		return figures.Short(v/1000, "") + "k"
	}
	return figures.Short(v, "")
}

// duration is seconds with a unit: 50 µs.
func duration(sec float64) string { return figures.Short(sec, "sec") }
