package main

import (
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
)

// throughput is acquires and releases of distinct keys by goroutines.
func throughput(c *campaign) (*chart, error) {
	cells, otherServers := cellsOf(c.find("AcquireRelease"))
	if len(cells) == 0 {
		return nil, absence("no *.txt has AcquireRelease")
	}
	cells, otherReleases := oneRelease(cells)
	cells, tooFew := enough(cells, "sec/op")
	list, err := lines(cells, func(c cell) (float64, error) { return c.Number("goroutines") },
		func(c cell, x float64) (point, bool) {
			pt, ok := c.point(x, "sec/op")
			return point{x: x, y: 1 / pt.y, low: 1 / pt.high, high: perSecond(pt.low)}, ok
		})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, absence("AcquireRelease has no ns/op")
	}
	one := []panel{{
		x:     axis{label: "goroutines", log: true},
		y:     axis{label: "acquire + release per second", format: number},
		lines: list,
	}}
	leftOut := choose(one)
	one[0].x.ticks = measured(one[0].lines)
	return &chart{
		title: "Throughput without contention",
		subtitle: []string{"Acquire + release of keys that nobody else wants. Higher is better.",
			machine(cells)},
		notes:  sentences(leftOut, rounds(cells, "sec/op"), otherReleases, tooFew, otherServers),
		height: linesHeight,
		body:   panels{list: one}.draw,
	}, nil
}

// perSecond of an interval's end that is not known, which is minus infinity, is not known either.
func perSecond(sec float64) float64 {
	if sec <= 0 {
		return math.Inf(1)
	}
	return 1 / sec
}

// oneRelease keeps of each way the release by script, where it was measured with several.
func oneRelease(cells []cell) (kept []cell, leftOut string) {
	for _, c := range cells {
		if c.Key("release") == "lua" || !slices.ContainsFunc(cells, func(o cell) bool {
			return o.way == c.way && o.Key("release") == "lua"
		}) {
			kept = append(kept, c)
		}
	}
	if len(kept) < len(cells) {
		leftOut = "Released by script; other releases are in the tables."
	}
	return kept, leftOut
}

// enough leaves out cells that have too few rounds for an interval, if others have one: what a campaign measures in
// passing, as the closed loop from which the rates of an open loop are made.
func enough(cells []cell, unit string) (kept []cell, leftOut string) {
	for _, c := range cells {
		if len(c.Values(unit)) >= 6 {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 || len(kept) == len(cells) {
		return cells, ""
	}
	return kept, "What has fewer than 6 rounds is in the tables."
}

// measured are ticks at the xs of lines: what was measured are a few round numbers.
func measured(list []line) []plot.Tick {
	var xs []float64
	for _, l := range list {
		for _, pt := range l.points {
			if !slices.Contains(xs, pt.x) {
				xs = append(xs, pt.x)
			}
		}
	}
	slices.Sort(xs)
	ticks := make([]plot.Tick, len(xs))
	for i, x := range xs {
		ticks[i] = plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'f', -1, 64)}
	}
	return ticks
}

// sentences are the notes that are not empty, and then what was left out.
func sentences(leftOut []string, notes ...string) []string {
	return slices.DeleteFunc(append(notes, leftOut...), func(s string) bool { return s == "" })
}
