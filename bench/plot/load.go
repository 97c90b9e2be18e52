package main

import (
	"cmp"
	"errors"
	"slices"

	"github.com/redigolock/redigolock/internal/figures"
)

// loadKeys are the spreads of keys to make a chart of: those that a campaign is to have, and others that this one has.
func (c *campaign) loadKeys() []string {
	list := []string{"own", "hot", "zipf10000"}
	for _, cell := range c.find("Load") {
		if keys := keysOf(cell); !slices.Contains(list, keys) {
			list = append(list, keys)
		}
	}
	return list
}

// keysOf is the spread of keys of a Load. Older files do not say it, and had a key for each worker.
func keysOf(c *figures.Cell) string {
	if keys := c.Key("keys"); keys != "" {
		return keys
	}
	return "own"
}

var spreads = map[string]string{
	"own":       "a key for each worker",
	"hot":       "one hot key",
	"zipf10000": "10,000 keys with a Zipf spread",
}

// load is latency by offered load, of arrivals that do not wait for the server.
func load(c *campaign, keys string) (*chart, error) {
	found := slices.DeleteFunc(c.find("Load"), func(c *figures.Cell) bool { return keysOf(c) != keys })
	cells, otherServers := cellsOf(found)
	if len(cells) == 0 {
		return nil, absence("no *.txt has Load with keys=" + keys)
	}
	p50, err50 := latency(cells, "p50-sec")
	p99, err99 := latency(cells, "p99-sec")
	if err := errors.Join(err50, err99); err != nil {
		return nil, err
	}
	if len(p50) == 0 || len(p99) == 0 {
		return nil, absence("Load has no p50-ns or no p99-ns")
	}
	list := []panel{{title: "median (p50)", lines: p50}, {title: "99th percentile (p99)", lines: p99}}
	leftOut := choose(list)
	low, high := sameRange(list)
	for i := range list {
		list[i].x = axis{label: "offered load, per second", format: number}
		list[i].y = axis{log: true, format: duration, from: low, to: high, noLabels: i > 0}
	}
	list[0].y.label = "latency from the arrival"
	return &chart{
		title: "Latency under offered load: " + cmp.Or(spreads[keys], keys),
		subtitle: []string{"Open loop: acquire + release arrive at a rate, whatever the server does, and are timed from " +
			"when they were to arrive.", machine(cells)},
		notes:  sentences(leftOut, rounds(cells, "p99-sec"), hollow(list[0].lines, list[1].lines), otherServers),
		height: linesHeight,
		body:   panels{list: list}.draw,
	}, nil
}

// latency are the lines of a percentile. A point is hollow where it is only a lower bound.
func latency(cells []cell, unit string) ([]line, error) {
	return lines(cells, func(c cell) (float64, error) { return c.Number("rate") },
		func(c cell, x float64) (point, bool) {
			pt, ok := c.point(x, unit)
			return pt, ok && pt.y > 0
		})
}

// hollow explains hollow points, if there are any.
func hollow(lists ...[]line) string {
	for _, l := range slices.Concat(lists...) {
		if slices.ContainsFunc(l.points, func(pt point) bool { return pt.hollow }) {
			return lowerBound
		}
	}
	return ""
}

const lowerBound = "A hollow point is a lower bound: more had not ended when the time was up than lies above the percentile."

// sameRange is one range for the ys of all panels, so that they can be compared.
func sameRange(list []panel) (low, high float64) {
	var all panel
	all.y.log = true
	for _, p := range list {
		all.lines = append(all.lines, p.lines...)
	}
	_, _, low, high = all.ranges()
	return low / 1.15, high * 1.15
}
