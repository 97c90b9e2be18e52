package main

// cost is what an acquisition costs the server, by the number of waiters.
func cost(c *campaign) (*chart, error) {
	cells, otherServers := cellsOf(c.set.Find("Contention"))
	if len(cells) == 0 {
		return nil, absence("no *.txt has Contention")
	}
	cells = common(cells, "4/0s", "processes", "hold")
	var list []panel
	var leftOut, unit string
	for _, p := range []struct {
		unit, title, label string
		format             func(float64) string
	}{
		{"cmds/acq", "commands", "commands per acquisition", number},
		{"server-cpu-sec/op", "processor time of the server", "server CPU per acquisition", duration},
	} {
		found, err := lines(cells, func(c cell) (float64, error) { return c.Number("waiters") },
			func(c cell, x float64) (point, bool) {
				pt, ok := c.point(x, p.unit)
				return pt, ok && pt.y > 0
			})
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			continue
		}
		unit = p.unit
		found, leftOut = choose(found)
		list = append(list, panel{
			title: p.title,
			x:     axis{label: "waiters of one key", log: true, ticks: measured(found)},
			y:     axis{label: p.label, log: true, format: p.format},
			lines: found,
		})
	}
	if len(list) == 0 {
		return nil, absence("Contention has neither cmds/acq nor server-cpu-ns/op")
	}
	return &chart{
		title:    "Cost of an acquisition under contention",
		subtitle: []string{condition(cells[0], "") + ". Lower is better.", machine(cells)},
		notes:    sentences(rounds(cells, unit), leftOut, otherServers),
		height:   linesHeight,
		body:     panels{list: list}.draw,
	}, nil
}
