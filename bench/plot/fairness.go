package main

// fairness is Jain's index and the waits, for the cell that most ways were measured in.
func fairness(c *campaign) (*chart, error) {
	cells, otherServers := cellsOf(c.find("Contention"))
	if len(cells) == 0 {
		return nil, absence("no *.txt has Contention")
	}
	cells = common(cells, "64/4/0s", "waiters", "processes", "hold")
	r := rowsOf(cells, "jain", true)
	if !r.add(cells, "jain", column{x: axis{label: "Jain's index of fairness", format: digits, to: 1.03}}) {
		return nil, absence("Contention has no jain")
	}
	if !r.add(cells, "wait-p99-sec", column{x: axis{label: "wait, 99th percentile", log: true, format: duration}}) {
		r.add(cells, "longest-sec", column{x: axis{label: "longest wait", log: true, format: duration}})
	}
	return &chart{
		title: "Fairness: who gets the lock, and after how long",
		subtitle: []string{condition(cells[0], cells[0].Key("waiters")) +
			". An index of 1: each waiter gets the lock as often as the others.", machine(cells)},
		notes:  sentences(nil, rounds(cells, "jain"), r.hollow(), otherServers),
		height: r.height(),
		body:   r.draw,
	}, nil
}
