package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func (s *section) writeLoad(w io.Writer, cells []*cell) {
	closed, open := loops(cells)
	if len(closed) > 0 {
		first := closed[0].uncontended()
		fmt.Fprintf(w, "Closed loop of %d goroutines, %s\n\n", first.Goroutines, s.rounds(closed))
		s.writeClosed(w, closed)
	}
	for i := 0; len(open) > 0; i++ {
		if i+len(closed) > 0 {
			fmt.Fprintln(w)
		}
		keys := open[0].workload.(offered).keys
		n := slices.IndexFunc(open, func(c *cell) bool { return c.workload.(offered).keys != keys })
		if n < 0 {
			n = len(open)
		}
		writeOpen(w, keys, open[:n])
		open = open[n:]
	}
}

// keyed is how the kinds of keys are called.
var keyed = map[string]string{"own": "distinct keys", "hot": "one key", "zipf10000": "10,000 keys by Zipf's law"}

func writeOpen(w io.Writer, keys string, cells []*cell) {
	of := cells[0].workload.(offered).load().Of
	served := "" // of shared keys by default as many as can be
	if of.Goroutines > 0 {
		served = fmt.Sprintf(", at most %s served at once", count(float64(of.Goroutines)))
	}
	fmt.Fprintf(w, "Open loop: acquire + release of %s that arrive at a rate%s\n\n", keyed[keys], served)
	t := table{left: 3}
	t.head = []string{"hold", "arrivals/s", "approach", "goodput/s", "p50", "p99", "p99.9", "unserved", "late p99",
		"CPU/op", "server CPU"}
	before := cells[0].workload.(offered).load()
	for _, c := range cells {
		l := c.workload.(offered).load()
		if l.Rate != before.Rate || l.Hold != before.Hold {
			t.gap()
		}
		before = l
		t.add(loadLine(c, l)...)
	}
	t.write(w)
	fmt.Fprintf(w, "\n  latency: of all rounds together, from when each was to arrive; arrivals are a Poisson process\n")
	fmt.Fprintf(w, "  late: how late lockbench itself was with them, which is part of the latency\n")
	fmt.Fprintf(w, "  unserved: still waited when the time was up; with >, they were too many for that percentile\n")
	if !of.Server.Embedded() {
		fmt.Fprintf(w, "  CPU: for each op, of this process with its making of arrivals, and of the server\n")
	}
}

// loops parts the cells.
func loops(cells []*cell) (closed, open []*cell) {
	for _, c := range cells {
		if _, ok := c.workload.(offered); ok {
			open = append(open, c)
		} else {
			closed = append(closed, c)
		}
	}
	return closed, open
}

// generatorLate is the p99 of what lockbench was late, median of the rounds.
func generatorLate(c *cell) string {
	return late(int64(figures.Summarize(c.metric("generator-p99-ns")).Center))
}

func loadLine(c *cell, l bench.Load) []string {
	lat := c.latency
	var unserved, arrived int64
	for _, r := range c.rounds {
		unserved += r.Loaded.Unserved
		arrived += r.Loaded.Arrived
	}
	percentile := func(percent float64) string {
		if float64(unserved) > (1-percent/100)*float64(arrived) {
			return "> " + quantile(lat, percent)
		}
		return quantile(lat, percent)
	}
	client, server := c.cpu()
	hold := ""
	if l.Keys != "own" {
		hold = l.Hold.String()
	}
	return []string{hold, count(l.Rate), l.Of.Called(), figures.Significant(c.summary(perSecond).Center),
		percentile(50), percentile(99), percentile(99.9), count(float64(unserved)), generatorLate(c), client, server}
}

// writeClosed is the table of what is only measured to know what comes next.
func (s *section) writeClosed(w io.Writer, cells []*cell) {
	t := table{head: []string{"goroutines", "approach", "ops/s", "±", "p50", "p99", "CPU/op", "server CPU"}, left: 2}
	before := cells[0].uncontended().Goroutines
	for _, c := range cells {
		u := c.uncontended()
		if u.Goroutines != before {
			t.gap()
			before = u.Goroutines
		}
		speed, lat := c.summary(perSecond), c.latency
		client, server := c.cpu()
		t.add(strconv.Itoa(u.Goroutines), u.Called(), figures.Significant(speed.Center), speed.PlusMinus(),
			quantile(lat, 50), quantile(lat, 99), client, server)
	}
	t.write(w)
}

// cpu is what an op has used of the client and of the server, median of the rounds; "" where it is not known.
func (c *cell) cpu() (client, server string) {
	each := func(of func(*bench.CPU) time.Duration) string {
		used := c.summary(func(r bench.Result) float64 { return float64(of(r.CPU)) / float64(r.Ops) }).Center
		if used < 0 {
			return ""
		}
		return short(time.Duration(used))
	}
	return each(func(u *bench.CPU) time.Duration { return u.Client }),
		each(func(u *bench.CPU) time.Duration { return u.Server })
}
