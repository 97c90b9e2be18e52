package main

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const captionHeight = 1.5 * labelSize

// A placed plot has a title above and names at its axes. Gonum's own are not used: on a logarithmic axis it pads the
// plot as if they were at its end, and it centres titles over the axis, too.
type placed struct {
	*plot.Plot
	title, x, y string
}

// inner is the part of an area that is left for the plot and its ticks.
func (p placed) inner(area draw.Canvas) draw.Canvas {
	var left, bottom, top vg.Length
	if p.y != "" {
		left = captionHeight
	}
	if p.x != "" {
		bottom = captionHeight
	}
	if p.title != "" {
		top = captionHeight
	}
	return draw.Crop(area, left, 0, bottom, -top)
}

// draw draws into an area, and returns the part of it that the data is in.
func (p placed) draw(area draw.Canvas, t theme) draw.Canvas {
	inner := p.inner(area)
	p.Draw(inner)
	data := p.DataCanvas(inner)
	caption := style(labelSize, false, t)
	caption.XAlign = text.XCenter
	middle := data.Center()
	if p.x != "" {
		area.FillText(caption, vg.Point{X: middle.X, Y: area.Min.Y + labelSize/2}, p.x)
	}
	if p.y != "" {
		turned := caption
		turned.Rotation = math.Pi / 2
		area.FillText(turned, vg.Point{X: area.Min.X + labelSize/2, Y: middle.Y}, p.y)
	}
	if p.title != "" {
		bold := style(labelSize, true, t)
		bold.XAlign = text.XCenter
		area.FillText(bold, vg.Point{X: middle.X, Y: area.Max.Y - labelSize/2}, p.title)
	}
	return data
}

// sideBySide draws plots beside each other, with as much width for the data of each, and returns where the data is.
func sideBySide(c draw.Canvas, plots []placed, gap vg.Length, t theme) []draw.Canvas {
	n := vg.Length(len(plots))
	room := c.Size().X - gap*(n-1)
	around := make([]vg.Length, len(plots)) // axes
	for i, p := range plots {
		area := draw.Crop(c, 0, room/n-c.Size().X, 0, 0)
		around[i] = room/n - p.DataCanvas(p.inner(area)).Size().X
	}
	wide := room
	for _, w := range around {
		wide -= w
	}
	wide /= n
	var list []draw.Canvas
	left := vg.Length(0)
	for i, p := range plots {
		right := left + around[i] + wide
		list = append(list, p.draw(draw.Crop(c, left, right-c.Size().X, 0, 0), t))
		left = right + gap
	}
	return list
}
