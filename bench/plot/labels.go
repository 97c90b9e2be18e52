package main

import (
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Beside the data: a faint line from the end of a way's line, if it is one, to its label, which is a sample of the line and a name.
const (
	leaderWidth = 16
	sampleWidth = 24
	labelHeight = 13
)

func labelsWidth(names []string, t theme) vg.Length {
	var widest vg.Length
	for _, name := range names {
		widest = max(widest, style(labelSize, true, t).Width(wayOf(name).label))
	}
	return leaderWidth + sampleWidth + 5 + widest
}

// label writes the names of the ways at the right of the last panel, none over another.
func (ps panels) label(c, data draw.Canvas, p *plot.Plot, names []string, t theme) {
	toX, toY := p.Transforms(&data)
	ends, single := map[string]vg.Point{}, map[string]bool{}
	for _, l := range ps.list[len(ps.list)-1].lines {
		single[l.name] = len(l.points) == 1
		end := l.points[len(l.points)-1]
		ends[l.name] = vg.Point{X: toX(end.x), Y: toY(end.y)}
	}
	wanted := make([]vg.Length, len(names))
	for i, name := range names {
		wanted[i] = data.Min.Y // where only an earlier panel has the way
		if end, ok := ends[name]; ok {
			wanted[i] = end.Y
		}
		if ps.listed {
			wanted[i] = data.Max.Y - vg.Length(i)*labelHeight
		}
	}
	x := data.Max.X + leaderWidth
	for i, y := range spread(wanted, labelHeight, data.Min.Y, data.Max.Y) {
		// From a single point it would cross the panel, and look like a limit.
		if end, ok := ends[names[i]]; ok && !ps.listed && !single[names[i]] {
			leader := draw.LineStyle{Color: t.faint, Width: 0.5, Dashes: []vg.Length{1, 2}}
			bend := vg.Point{X: max(end.X, data.Max.X) + 4, Y: end.Y}
			c.StrokeLines(leader, []vg.Point{{X: end.X + 4, Y: end.Y}, bend, {X: x - 2, Y: y}})
		}
		wayOf(names[i]).drawLabel(c, vg.Point{X: x, Y: y}, !ps.listed, t)
	}
}

func (w way) drawLabel(c draw.Canvas, at vg.Point, marked bool, t theme) {
	c.StrokeLines(w.line(t), []vg.Point{at, {X: at.X + sampleWidth, Y: at.Y}})
	if marked {
		c.DrawGlyphNoClip(w.glyph(t, false), vg.Point{X: at.X + sampleWidth/2, Y: at.Y})
	}
	c.FillText(style(labelSize, w.ours, t), vg.Point{X: at.X + sampleWidth + 5, Y: at.Y}, w.label)
}

// spread moves heights apart until they are a gap from each other, each as near as can be to where it was wanted, and
// between bottom and top if there is room. Those that are in each other's way share their middle.
func spread(wanted []vg.Length, gap, bottom, top vg.Length) []vg.Length {
	type block struct {
		members []int
		middle  vg.Length
	}
	half := func(b block) vg.Length { return gap * vg.Length(len(b.members)-1) / 2 }
	order := make([]int, len(wanted))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmpFloat(float64(wanted[i]), float64(wanted[j])) })
	if len(order) > 0 && gap*vg.Length(len(order)-1) > top-bottom {
		top = bottom + gap*vg.Length(len(order)-1)
	}
	var blocks []block
	for _, i := range order {
		b := block{[]int{i}, min(max(wanted[i], bottom), top)}
		for len(blocks) > 0 {
			below := blocks[len(blocks)-1]
			if b.middle-half(b) >= below.middle+half(below)+gap {
				break
			}
			n, m := vg.Length(len(below.members)), vg.Length(len(b.members))
			b = block{append(below.members, b.members...), (below.middle*n + b.middle*m) / (n + m)}
			b.middle = min(max(b.middle, bottom+half(b)), top-half(b))
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, b)
	}
	heights := make([]vg.Length, len(wanted))
	for _, b := range blocks {
		for k, i := range b.members {
			heights[i] = b.middle - half(b) + gap*vg.Length(k)
		}
	}
	return heights
}
