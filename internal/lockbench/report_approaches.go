package lockbench

import (
	"fmt"
	"io"
	"strconv"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func (s *section) writeApproaches(w io.Writer, cells []*cell) {
	first, base := cells[0].workload.(bench.Uncontended), s.cells()[0].workload.(bench.Uncontended)
	fmt.Fprintf(w, "Acquire + release of distinct keys, %s\n\n", s.rounds(cells))
	t := table{left: 3}
	t.head = []string{"goroutines", "approach", "release", "ops/s", "±", "p50", "p99", "time", "95 %", ""}
	withAllocs := !first.Server.Embedded()
	if withAllocs {
		t.head = append(t.head, "allocs", "CPU", "server CPU")
	}
	before := first.Goroutines
	for _, c := range cells {
		u := c.workload.(bench.Uncontended)
		if u.Goroutines != before {
			t.gap()
			before = u.Goroutines
		}
		t.add(approachLine(c, u, withAllocs)...)
	}
	t.write(w)
	fmt.Fprintf(w, "\n  time: of an op, as a multiple of that of %s + %s at as many goroutines; below 1: faster\n",
		base.Called(), base.Release)
	if withAllocs {
		fmt.Fprintf(w, "  allocs, CPU, server CPU: for each op, of this process, and of the server\n")
	}
	s.writeIntervals(w)
}

func approachLine(c *cell, u bench.Uncontended, withAllocs bool) []string {
	speed, lat := c.summary(perSecond), c.latency
	ratio, span, same := "", "", "" // after Ctrl-C there may be no base
	switch {
	case len(c.bases) == 0:
		ratio = "1.00"
	case len(c.bases[0].rounds) > 0:
		r := figures.Summarize(bench.Ratios(c.bases[0].perOp(), c.perOp()))
		ratio, span, same = figures.Significant(r.Center), r.Interval("ratio"), tilde(r)
	}
	line := []string{
		strconv.Itoa(u.Goroutines), u.Called(), u.Release, figures.Significant(speed.Center), speed.PlusMinus(),
		quantile(lat, 50), quantile(lat, 99), ratio, span, same,
	}
	if withAllocs {
		allocs := c.summary(func(r bench.Result) float64 { return r.Allocs })
		client, server := c.cpu()
		line = append(line, figures.Format(allocs.Center, "allocs/op"), client, server)
	}
	return line
}
