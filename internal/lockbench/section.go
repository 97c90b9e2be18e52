package lockbench

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redigolock/redigolock/bench"
)

// A section is one workload of the command line: the tables of one kind.
type section struct {
	name   string
	pace   pace
	groups []group
}

// A group is cells that run interleaved.
type group struct {
	cells []*cell
	count int  // of rounds; 0: those of the section's pace
	first bool // what the others depend on, and nothing else
}

func (s *section) countOf(g group) int {
	if g.count > 0 {
		return g.count
	}
	return s.pace.count
}

// run measures all, round by round. What a round has brought is written in the order of the table, whatever the order
// of the runs was.
func (s *section) run(ctx context.Context, out *output, p *progress) error {
	for _, g := range s.groups {
		workloads := make([]bench.Workload, len(g.cells))
		for i, c := range g.cells {
			workloads[i] = c.workload
		}
		count := s.countOf(g)
		begin := func(round, i int) {
			p.show(fmt.Sprintf("round %d of %d: %s", round+1, count, workloads[i].Name()), lengthOf(workloads[i]))
		}
		runs := 0
		done := func(i int, r bench.Result) error {
			g.cells[i].add(r)
			if runs++; runs%len(g.cells) != 0 {
				return nil
			}
			return s.write(out, g.cells, runs/len(g.cells))
		}
		if err := bench.Rounds(ctx, count, workloads, begin, done); err != nil {
			return errors.Join(err, s.write(out, g.cells, runs/len(g.cells)+1))
		}
	}
	return nil
}

// write writes a round, which counts from 1, of the cells that have it; of cells that are compared, the ratios.
func (s *section) write(out *output, cells []*cell, round int) error {
	pairs := slices.ContainsFunc(cells, func(c *cell) bool { return s.paired() && len(c.bases) > 0 })
	for _, c := range cells {
		if len(c.rounds) < round {
			continue
		}
		if !pairs {
			if err := out.write(c.workload.Name(), c.rounds[round-1]); err != nil {
				return err
			}
			continue
		}
		for _, base := range c.bases {
			if len(base.rounds) < round {
				continue
			}
			if err := out.writeRatio(ratioName(c, base), c.rounds[round-1].Result, base.rounds[round-1].Result); err != nil {
				return err
			}
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
