package main

import (
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/redigolock/redigolock/internal/figures"
)

// A way is how an approach, a rival or a way of waiting looks in all charts: a colour for the family, a dash pattern and
// a mark as a second channel for its members. Ours alone are blue or vermillion, and thick.
type way struct {
	name   string
	hue    hue
	dashes []vg.Length
	mark   draw.GlyphDrawer
	ours   bool
}

var (
	dashed = []vg.Length{5, 2.5}
	dotted = []vg.Length{1.5, 2}
)

// ways are what is drawn, in the order of the legends.
var ways = []way{
	{"fair", vermillion, nil, draw.CircleGlyph{}, true},
	{"cohort", vermillion, dashed, draw.BoxGlyph{}, true},
	{"polling", blue, nil, draw.CircleGlyph{}, true},
	{"locker", blue, nil, draw.BoxGlyph{}, true},
	{"locker-mux1", vermillion, nil, draw.PyramidGlyph{}, true},
	{"floor", neutral, nil, draw.CrossGlyph{}, false},
	{"loop", neutral, dashed, draw.CrossGlyph{}, false},
	{"redsync", green, nil, draw.PyramidGlyph{}, false},
	{"redsync-default", green, dashed, draw.CrossGlyph{}, false},
	{"redislock", purple, nil, draw.BoxGlyph{}, false},
	{"goredis-setnx", orange, nil, draw.PyramidGlyph{}, false},
	{"rueidislock", sky, nil, draw.CircleGlyph{}, false},
	{"rueidis", sky, dotted, draw.BoxGlyph{}, false},
	{"etcd", yellow, nil, draw.CrossGlyph{}, false},
	{"zookeeper", yellow, dashed, draw.BoxGlyph{}, false},
}

// A hue is a colour of the palette of Okabe and Ito, which colour-blind people can tell apart.
type hue int

const (
	neutral hue = iota // the colour of the text
	blue
	vermillion
	green
	orange
	sky
	purple
	yellow
)

// A theme is the colours of a page. Each chart has its own background, so that it is readable on the other page too.
type theme struct {
	name                          string
	background, text, faint, grid color.Color
	colours                       []color.Color // by hue
}

var light = theme{
	name: "light", background: rgb(0xFFFFFF), text: rgb(0x1F2328), faint: rgb(0x59636E), grid: rgb(0xE4E7EB),
	colours: []color.Color{rgb(0x1F2328), rgb(0x0072B2), rgb(0xD55E00), rgb(0x009E73), rgb(0xE69F00), rgb(0x56B4E9), rgb(0xCC79A7),
		rgb(0xA89C00)}, // the yellow of the palette cannot be seen on white
}

var dark = theme{
	name: "dark", background: rgb(0x0D1117), text: rgb(0xF0F6FC), faint: rgb(0x9DA5AE), grid: rgb(0x2A3038),
	colours: []color.Color{rgb(0xF0F6FC), rgb(0x1F87CC), rgb(0xE8701A), rgb(0x00B685), rgb(0xE69F00), rgb(0x7CCBF7), rgb(0xD68DB6),
		rgb(0xF0E442)},
}

func rgb(v uint32) color.Color {
	return color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 255}
}

func (w way) line(t theme) draw.LineStyle {
	s := draw.LineStyle{Color: t.colours[w.hue], Width: 1.2, Dashes: w.dashes}
	if w.ours {
		s.Width = 2.2
	}
	return s
}

// glyph is hollow for a figure that is only a bound.
func (w way) glyph(t theme, hollow bool) draw.GlyphStyle {
	s := draw.GlyphStyle{Color: t.colours[w.hue], Radius: 2.8, Shape: w.mark}
	if w.ours {
		s.Radius = 3.2
	}
	if hollow {
		s.Shape = draw.RingGlyph{}
		switch w.mark {
		case draw.BoxGlyph{}:
			s.Shape = draw.SquareGlyph{}
		case draw.PyramidGlyph{}:
			s.Shape = draw.TriangleGlyph{}
		}
	}
	return s
}

// label is what tables call the way, too.
func (w wayOf) label() string {
	return strings.ReplaceAll(figures.Way(w.cells[0].Kind, w.name), "`", "")
}

// A wayOf is the cells of a way.
type wayOf struct {
	way
	cells []*figures.Cell
}

// chosen are the ways that are drawn, with those of the cells that have the units. The floor of Contention is no lock.
func chosen(cells []*figures.Cell, units []string) (list []wayOf) {
	for _, w := range ways {
		of := wayOf{way: w}
		for _, c := range cells {
			if c.Key("way") != w.name && c.Key("approach") != w.name || c.Kind == "Contention" && w.name == "floor" {
				continue
			}
			if !slices.ContainsFunc(units, func(unit string) bool { return len(c.Values(unit)) == 0 }) {
				of.cells = append(of.cells, c)
			}
		}
		if len(of.cells) > 0 {
			list = append(list, of)
		}
	}
	return list
}
