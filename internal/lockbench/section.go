package lockbench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// A section is one workload of the command line: the tables of one kind.
type section struct {
	name   string
	pace   pace
	delay  time.Duration // of round trips
	groups []group
}

// A group is cells that run interleaved.
type group struct {
	cells []*cell
	count int  // of rounds; 0: those of the section's pace
	first bool // what the others depend on, and nothing else
	past  int  // rounds that were there before this run
}

// A line is what is written of a round of a cell; of two cells that are compared, their ratio.
type line struct{ cell, base *cell }

func (l line) name() string {
	if l.base == nil {
		return l.cell.workload.Name()
	}
	return ratioName(l.cell, l.base)
}

// linesOf are those of a whole round, in the order of the table.
func (s *section) linesOf(g group) []line {
	var all, ratios []line
	for _, c := range g.cells {
		all = append(all, line{cell: c})
		for _, base := range c.bases {
			ratios = append(ratios, line{c, base})
		}
	}
	if s.paired() && len(ratios) > 0 {
		return ratios
	}
	return all
}

// countOf is how many rounds a group has, the past ones included.
func (s *section) countOf(g group) int {
	if g.count > 0 {
		return g.count
	}
	return s.pace.count
}

// run measures what is not there yet, round by round. What a round has brought is written in the order of the table,
// whatever the order of the runs was.
func (s *section) run(ctx context.Context, out *output, p *progress) error {
	for _, g := range s.groups {
		workloads := make([]bench.Workload, len(g.cells))
		for i, c := range g.cells {
			workloads[i] = c.workload
		}
		count := s.countOf(g)
		begin := func(round, i int) {
			p.show(fmt.Sprintf("round %d of %d: %s", g.past+round+1, count, workloads[i].Name()), lengthOf(workloads[i]))
		}
		runs := 0
		done := func(i int, r bench.Result) error {
			g.cells[i].add(r)
			if runs++; runs%len(g.cells) != 0 {
				return nil
			}
			return errors.Join(s.write(out, g, runs/len(g.cells)), out.logHistograms())
		}
		if err := bench.Rounds(ctx, count-g.past, workloads, begin, done); err != nil {
			return errors.Join(err, s.write(out, g, runs/len(g.cells)+1))
		}
	}
	return nil
}

// write writes a round of this run, which counts from 1, of the cells that have it.
func (s *section) write(out *output, g group, round int) error {
	for _, l := range s.linesOf(g) {
		if len(l.cell.rounds) < round || l.base != nil && len(l.base.rounds) < round {
			continue
		}
		r, metrics := l.cell.rounds[round-1], l.cell.rounds[round-1].all()
		if l.base != nil {
			metrics = bench.RatioMetrics(r.Result, l.base.rounds[round-1].Result)
		}
		if err := out.write(l.name(), max(int(r.Ops), 1), metrics); err != nil {
			return err
		}
	}
	return nil
}

// paired says that the section is about ratios, not about what they are of.
func (s *section) paired() bool { return s.name == "ratios" || s.name == "mux" }

func ratioName(c, base *cell) string {
	u, b := c.uncontended(), base.uncontended()
	return fmt.Sprintf("Ratio/server=%s/of=%s/to=%s/goroutines=%d", u.Server.Name, u.Called(), b.Called(), u.Goroutines)
}
