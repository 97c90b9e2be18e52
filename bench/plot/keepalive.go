package main

import "fmt"

// keepAlive is what a renewal costs, for the number of locks and the ttl that most ways were measured with.
func keepAlive(c *campaign) (*chart, error) {
	cells, otherServers := cellsOf(c.find("KeepAlive"))
	if len(cells) == 0 {
		return nil, absence("no *.txt has KeepAlive")
	}
	cells = common(cells, "10000/30s", "locks", "ttl")
	r := rowsOf(cells, "cpu-sec/renewal", false)
	if !r.add(cells, "cpu-sec/renewal", column{x: axis{label: "client CPU per renewal", format: duration}, bars: true}) {
		return nil, absence("KeepAlive has no cpu-ns/renewal")
	}
	r.add(cells, "server-cpu-sec/renewal", column{x: axis{label: "server CPU per renewal", format: duration}, bars: true})
	locks, err := cells[0].Number("locks")
	if err != nil {
		return nil, err
	}
	return &chart{
		title: "Cost of keeping a lock alive",
		subtitle: []string{fmt.Sprintf("%s locks with a ttl of %s, each renewed in time. Lower is better.",
			number(locks), cells[0].Key("ttl")), machine(cells)},
		notes:  sentences(nil, rounds(cells, "cpu-sec/renewal"), otherServers),
		height: r.height(),
		body:   r.draw,
	}, nil
}
