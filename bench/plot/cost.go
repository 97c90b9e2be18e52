package main

import "slices"

// cost is what an acquisition costs the server, by the number of waiters.
func cost(c *campaign) (*chart, error) {
	cells, otherServers := cellsOf(c.find("Contention"))
	if len(cells) == 0 {
		return nil, absence("no *.txt has Contention")
	}
	cells = common(cells, "4/0s", "processes", "hold")
	commands, err := costPanel(cells, "cmds/acq", "commands per acquisition, those in scripts too", number)
	if err != nil {
		return nil, err
	}
	processor, err := costPanel(cells, "server-cpu-sec/op", "server CPU per acquisition", duration)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc([]panel{commands, processor}, func(p panel) bool { return len(p.lines) == 0 })
	if len(list) == 0 {
		return nil, absence("Contention has neither cmds/acq nor server-cpu-ns/op")
	}
	leftOut := choose(list)
	for i := range list {
		list[i].x.ticks = measured(list[i].lines)
	}
	return &chart{
		title:    "Cost of an acquisition under contention",
		subtitle: []string{condition(cells[0], "") + ". Lower is better.", machine(cells)},
		notes:    sentences(leftOut, rounds(cells, "sec/op"), otherServers),
		height:   linesHeight,
		body:     panels{list: list}.draw,
	}, nil
}

// costPanel is a unit by waiters. It has no lines if the unit was not measured.
func costPanel(cells []cell, unit, label string, format func(float64) string) (panel, error) {
	list, err := lines(cells, func(c cell) (float64, error) { return c.Number("waiters") },
		func(c cell, x float64) (point, bool) {
			pt, ok := c.point(x, unit)
			return pt, ok && pt.y > 0
		})
	return panel{
		x:     axis{label: "waiters of one key", log: true},
		y:     axis{label: label, log: true, format: format},
		lines: list,
	}, err
}
