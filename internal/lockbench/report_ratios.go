package lockbench

import (
	"fmt"
	"io"
	"strconv"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func (s *section) writeRatios(w io.Writer, cells []*cell) {
	fmt.Fprintf(w, "Paired ratios of the time of acquire + release, %s\n\n", s.rounds(cells))
	t := table{head: []string{"goroutines", "of", "to", "ratio", "95 %", "", "rounds", "CPU", "server CPU"}, left: 3}
	before := 0
	for _, c := range cells {
		for _, base := range c.bases {
			if len(base.rounds) == 0 {
				continue
			}
			if n := c.uncontended().Goroutines; n != before {
				if before > 0 {
					t.gap()
				}
				before = n
			}
			t.add(s.ratioLine(c, base)...)
		}
	}
	t.write(w)
	fmt.Fprintf(w, "\n  ratio: of the time of an op; above 1: slower. A copy is identical: what it strays is noise\n")
	if s.name == "mux" && !cells[0].uncontended().Server.Embedded() {
		fmt.Fprintf(w, "  CPU, server CPU: ratios of the processor time of an op, of this process and of the server\n")
	}
	if s.name == "mux" {
		fmt.Fprintf(w, "  rounds: of more than %d goroutines there are fewer and longer ones\n", manyGoroutines)
		fmt.Fprintf(w, "  -pool16: a pool of 16 connections, for which one waits; the best one by the table above\n")
		fmt.Fprintf(w, "  -mux2: through a Mux of 2 connections; -at-128: the same with 128 goroutines\n")
	}
	s.writeIntervals(w)
}

func (s *section) ratioLine(c, base *cell) []string {
	u := c.uncontended()
	list := bench.Ratios(base.perOp(), c.perOp())
	r := figures.Summarize(list)
	line := []string{strconv.Itoa(u.Goroutines), u.Called(), base.uncontended().Called(), figures.Significant(r.Center),
		r.Interval("ratio"), tilde(r), strconv.Itoa(len(list))}
	if s.name != "mux" {
		return line
	}
	for _, unit := range []string{"cpu-ratio", "server-cpu-ratio"} {
		line = append(line, medianRatio(c, base, unit))
	}
	return line
}

// medianRatio is "" where a round does not have it.
func medianRatio(c, base *cell, unit string) string {
	n := min(len(c.rounds), len(base.rounds))
	var list []float64
	for i := range n {
		for _, m := range bench.RatioMetrics(c.rounds[i].Result, base.rounds[i].Result) {
			if m.Unit == unit {
				list = append(list, m.Value)
			}
		}
	}
	if len(list) < n {
		return ""
	}
	return figures.Significant(figures.Summarize(list).Center)
}

// writeMux shows how the pools were chosen, and then the ratios.
func (s *section) writeMux(w io.Writer, cells []*cell) {
	var sweep, pairs []*cell
	for _, g := range s.groups {
		for _, c := range g.cells {
			switch {
			case len(c.rounds) == 0:
			case g.first:
				sweep = append(sweep, c)
			default:
				pairs = append(pairs, c)
			}
		}
	}
	if len(sweep) > 0 {
		early := ""
		if s.stopped() {
			early = "stopped early, "
		}
		fmt.Fprintf(w, "Redigo by hand over bounded pools, %srounds of %v a cell in shuffled order\n\n", early, s.pace.time)
		s.writeClosed(w, sweep)
	}
	if len(pairs) > 0 {
		fmt.Fprintln(w)
		s.writeRatios(w, pairs)
	}
}
