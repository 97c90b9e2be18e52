package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"regexp"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	xfont "golang.org/x/image/font"
)

// Sizes in points, of which 600 are the 800 pixels of a README.
const (
	width        = 600
	margin       = 12
	titleSize    = 14
	subtitleSize = 9
	noteSize     = 8
	tickSize     = 8.5
	labelSize    = 9
)

func style(size float64, bold bool, t theme) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(size)}
	if bold {
		f.Weight = xfont.WeightBold
	}
	return text.Style{Color: t.text, Font: f, Handler: plot.DefaultTextHandler, YAlign: text.YCenter}
}

func faint(size float64, t theme) text.Style {
	s := style(size, false, t)
	s.Color = t.faint
	return s
}

// svg draws the chart: title, subtitle, body, notes, from the top.
func (ch *chart) svg(t theme) ([]byte, error) {
	const room, spacing = width - 2*margin, 1.35
	small, smallest := faint(subtitleSize, t), faint(noteSize, t)
	var subtitle []string
	for _, line := range ch.subtitle {
		subtitle = append(subtitle, wrap(line, small, room)...)
	}
	notes := wrap(strings.Join(ch.notes, " "), smallest, room)
	top := margin + titleSize*1.3 + spacing*subtitleSize*float64(len(subtitle)) + 8
	bottom := margin + spacing*noteSize*float64(len(notes)) + 9
	height := vg.Length(math.Ceil(top + ch.height + bottom))

	canvas := vgsvg.New(width, height)
	c := draw.New(canvas)
	c.SetColor(t.background)
	c.Fill(c.Rectangle.Path())
	c.FillText(style(titleSize, true, t), vg.Point{X: margin, Y: height - margin - titleSize/2}, ch.title)
	writeLines(c, height-margin-titleSize*1.8, small, spacing, subtitle)
	writeLines(c, vg.Length(bottom)-9-noteSize*spacing/2, smallest, spacing, notes)
	ch.body(draw.Crop(c, margin, -margin, vg.Length(bottom), -vg.Length(top)), t)

	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return portable(b.Bytes(), ch.title+". "+strings.Join(ch.subtitle, " "), t)
}

// writeLines writes lines at the left margin, the middle of the first at y.
func writeLines(c draw.Canvas, y vg.Length, sty text.Style, spacing vg.Length, lines []string) {
	for _, line := range lines {
		c.FillText(sty, vg.Point{X: margin, Y: y}, line)
		y -= spacing * sty.Font.Size
	}
}

// wrap breaks a text into lines that are no wider than a width.
func wrap(s string, sty text.Style, width vg.Length) []string {
	var lines []string
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

var (
	textElement = regexp.MustCompile(`<text ([^>]*?)\s*style="font-family:([^;]*);([^"]*)">([^<]*)</text>`)
	fontSize    = regexp.MustCompile(`font-size:([0-9.]+)px`)
)

// portable makes the texts look the same where Liberation Sans is not installed: it names fonts of the same or similar
// widths, and fixes the width of each text to what it was laid out with. It also gives the picture a name for screen
// readers.
func portable(svg []byte, name string, t theme) ([]byte, error) {
	var failed error
	svg = textElement.ReplaceAllFunc(svg, func(element []byte) []byte {
		m := textElement.FindSubmatch(element)
		size := fontSize.FindSubmatch(m[3])
		if size == nil {
			failed = fmt.Errorf("a text has no size: %s", element)
			return element
		}
		points, err := strconv.ParseFloat(string(size[1]), 64)
		if err != nil {
			failed = err
			return element
		}
		bold := bytes.Contains(m[3], []byte("font-weight:bold"))
		wide := style(points, bold, t).Width(html.UnescapeString(string(m[4]))).Points()
		if wide == 0 || strings.TrimSpace(string(m[4])) == "" {
			return nil
		}
		return fmt.Appendf(nil, `<text %s textLength="%.5g" lengthAdjust="spacingAndGlyphs" style="font-family:`+
			`'Liberation Sans',Arial,Helvetica,sans-serif;%s">%s</text>`, m[1], wide, m[3], m[4])
	})
	head := []byte(`xmlns:xlink="http://www.w3.org/1999/xlink">`)
	if !bytes.Contains(svg, head) {
		failed = fmt.Errorf("the head of the SVG has another form than was known")
	}
	title := `role="img">` + "\n<title>" + html.EscapeString(name) + "</title>"
	return bytes.Replace(svg, head, append(head[:len(head)-1:len(head)-1], " "+title...), 1), failed
}
