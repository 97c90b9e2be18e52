package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A dash is the pattern of a line.
type dash int

const (
	solid dash = iota
	dashed
	dotted
	dashdot
)

func (d dash) lengths() []vg.Length {
	return map[dash][]vg.Length{dashed: {6, 3}, dotted: {1.5, 2.5}, dashdot: {7, 2.5, 1.5, 2.5}}[d]
}

// A mark is the shape of a point.
type mark int

const (
	circle mark = iota
	square
	triangle
	diamond
)

// path is the outline of a mark of about the same area for each shape.
func (m mark) path(at vg.Point, r vg.Length) vg.Path {
	var p vg.Path
	corners, turn, stretch := 0, 0.0, 1.0
	switch m {
	case circle:
		p.Move(vg.Point{X: at.X + r, Y: at.Y})
		p.Arc(at, r, 0, 2*math.Pi)
		p.Close()
		return p
	case square:
		corners, turn, stretch = 4, math.Pi/4, 1.25
	case triangle:
		corners, turn, stretch = 3, math.Pi/2, 1.4
	case diamond:
		corners, turn, stretch = 4, 0, 1.35
	}
	for i := range corners {
		sin, cos := math.Sincos(turn + 2*math.Pi*float64(i)/float64(corners))
		pt := vg.Point{X: at.X + r*vg.Length(stretch*cos), Y: at.Y + r*vg.Length(stretch*sin)}
		if i == 0 {
			p.Move(pt)
		} else {
			p.Line(pt)
		}
	}
	p.Close()
	return p
}

// A glyph draws a mark, filled with a colour of its own: the background where it is to be hollow.
type glyph struct {
	mark mark
	fill color.Color
}

func (g glyph) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	path := g.mark.path(at, s.Radius)
	c.SetColor(g.fill)
	c.Fill(path)
	c.SetLineStyle(draw.LineStyle{Color: s.Color, Width: 1.1})
	c.Stroke(path)
}

func (w way) glyph(t theme, hollow bool) draw.GlyphStyle {
	s := draw.GlyphStyle{Color: t.colours[w.hue], Radius: 2.4, Shape: glyph{w.mark, t.colours[w.hue]}}
	if w.ours {
		s.Radius = 3
	}
	if hollow {
		s.Shape = glyph{w.mark, t.background}
	}
	return s
}

func (w way) line(t theme) draw.LineStyle {
	s := draw.LineStyle{Color: t.colours[w.hue], Width: 1.4, Dashes: w.dash.lengths()}
	if w.ours {
		s.Width = 2.4
	}
	return s
}
