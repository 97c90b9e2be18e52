package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	xfont "golang.org/x/image/font"

	"github.com/redigolock/redigolock/internal/figures"
)

// Sizes in points: the width is that of a phone of 390 pixels, so that texts keep their size there.
const (
	width      = 292
	plotHeight = 215
	margin     = 6
	titleSize  = 11
	labelSize  = 8.5
	tickSize   = 8
	noteSize   = 7
	barHeight  = 9
	rowHeight  = 12 // of the legend, which has two columns below the plot
)

func style(size float64, bold bool, c theme) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(size)}
	if bold {
		f.Weight = xfont.WeightBold
	}
	return text.Style{Color: c.text, Font: f, Handler: plot.DefaultTextHandler, YAlign: text.YCenter}
}

// A drawing is a plot with a legend of two columns.
type drawing struct {
	*plot.Plot
	columns [2]plot.Legend
	entries int
}

// entry adds one to the shorter column.
func (d *drawing) entry(name string, thumbs ...plot.Thumbnailer) {
	d.columns[d.entries%2].Add(name, thumbs...)
	d.entries++
}

// svg draws the chart: title, plot, legend, and what it was measured on.
func (ch chart) svg(list []wayOf, t theme) ([]byte, error) {
	d := newDrawing(t)
	d.Title.Text = ch.title
	if err := ch.draw(d, list, t); err != nil {
		return nil, err
	}
	note := style(noteSize, false, t)
	note.Color = t.faint
	lines := wrap(measuredOn(list, ch.units[0]), note, width-2*margin)
	notes := vg.Length(len(lines)) * noteSize * 1.35
	legend := vg.Length((d.entries+1)/2) * rowHeight
	below := margin + notes + margin + legend + margin
	height := plotHeight + below

	canvas := vgsvg.New(width, height)
	c := draw.New(canvas)
	c.SetColor(t.background)
	c.Fill(c.Rectangle.Path())
	d.Draw(draw.Crop(c, margin, -margin, below, -margin))
	for i, column := range d.columns {
		column.Draw(draw.Crop(c, margin+vg.Length(i)*width/2, 0, margin+notes, -plotHeight-margin))
	}
	for i, line := range lines {
		c.FillText(note, vg.Point{X: margin, Y: margin + notes - (vg.Length(i)+0.5)*noteSize*1.35}, line)
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return portable(b.Bytes(), ch.title, t), nil
}

// newDrawing is empty, in the colours of the theme.
func newDrawing(t theme) *drawing {
	d := &drawing{Plot: plot.New()}
	d.BackgroundColor = nil
	d.Title.TextStyle, d.Title.Padding = style(titleSize, true, t), 6
	d.Title.TextStyle.XAlign, d.Title.TextStyle.YAlign = text.XCenter, text.YTop
	for _, a := range []*plot.Axis{&d.X, &d.Y} {
		a.Color, a.Width, a.Padding = t.faint, 0.6, 0
		a.Label.TextStyle.Color, a.Label.TextStyle.Font = t.text, style(labelSize, false, t).Font
		a.Tick.Label.Color, a.Tick.Label.Font = t.text, style(tickSize, false, t).Font
		a.Tick.Color, a.Tick.Width, a.Tick.Length = t.faint, 0.6, 4
	}
	for i := range d.columns {
		l := plot.NewLegend()
		l.Top, l.Left, l.ThumbnailWidth, l.TextStyle = true, true, 18, style(tickSize, false, t)
		l.TextStyle.YAlign, l.YPosition = 0, draw.PosCenter
		l.Padding = rowHeight - l.TextStyle.Rectangle("Xg").Max.Y
		d.columns[i] = l
	}
	grid := plotter.NewGrid()
	grid.Vertical = draw.LineStyle{Color: t.grid, Width: 0.6}
	grid.Horizontal = grid.Vertical
	d.Add(grid)
	return d
}

// wrap breaks a text into lines that are no wider than a width.
func wrap(s string, sty text.Style, width vg.Length) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		if longer := strings.TrimSpace(line + " " + word); line != "" && sty.Width(longer) > width {
			lines, line = append(lines, line), word
		} else {
			line = longer
		}
	}
	return append(lines, line)
}

// measuredOn says on what, and how often.
func measuredOn(list []wayOf, unit string) string {
	var settings []string
	least, most := math.MaxInt, 0
	for _, w := range list {
		for _, c := range w.cells {
			n := len(c.Values(unit))
			least, most = min(least, n), max(most, n)
			for _, key := range []string{"redis-version", "cpu"} {
				if v := c.Config[key]; v != "" && !slices.Contains(settings, v) {
					settings = append(settings, v)
				}
			}
		}
	}
	rounds := strconv.Itoa(most)
	if least < most {
		rounds = fmt.Sprintf("%d to %d", least, most)
	}
	interval := "intervals at 95 %"
	if most < figures.LeastRounds {
		interval = "too few for an interval"
	}
	return strings.Join(append(settings, "medians of "+rounds+" rounds", interval), " · ")
}

var textElement = regexp.MustCompile(`(?s)<text ([^>]*?)\s*style="font-family:[^;]*;([^"]*font-weight:(\w+)[^"]*font-size:([0-9.]+)px[^"]*)">([^<]*)</text>`)

// portable makes the texts look the same where Liberation Sans is not installed: it names fonts of the same or similar
// widths, and fixes the width of each text to what it was laid out with. It also gives the picture a name for screen
// readers.
func portable(svg []byte, name string, t theme) []byte {
	svg = textElement.ReplaceAllFunc(svg, func(element []byte) []byte {
		m := textElement.FindSubmatch(element)
		size, err := strconv.ParseFloat(string(m[4]), 64)
		if err != nil || len(bytes.TrimSpace(m[5])) == 0 {
			return element
		}
		wide := style(size, string(m[3]) == "bold", t).Width(html.UnescapeString(string(m[5]))).Points()
		return fmt.Appendf(nil, `<text %s textLength="%.5g" lengthAdjust="spacingAndGlyphs" style="font-family:`+
			`'Liberation Sans',Arial,Helvetica,sans-serif;%s">%s</text>`, m[1], wide, m[2], m[5])
	})
	return bytes.Replace(svg, []byte(`xlink">`), fmt.Appendf(nil, `xlink" role="img">`+"\n<title>%s</title>", html.EscapeString(name)), 1)
}
