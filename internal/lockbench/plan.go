package lockbench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

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

// A cell is a line of a table, with what its rounds have measured.
type cell struct {
	workload bench.Workload
	bases    []*cell // that its ratios are of
	rounds   []bench.Result
}

// plan makes the sections.
func plan(s *bench.Server, o *options) []*section {
	var list []*section
	for _, name := range o.workloads {
		p := o.pace(name)
		list = append(list, &section{name: name, pace: p, groups: planners[name](s, o, p)})
	}
	return list
}

var planners = map[string]func(*bench.Server, *options, pace) []group{
	"approaches": approaches, "verbs": verbs, "contention": contention, "ratios": ratios,
	"keepalive": keepalive, "mux": mux, "load": load,
}

func approaches(s *bench.Server, o *options, p pace) []group {
	var cells []*cell
	for _, n := range o.goroutinesOf("approaches") {
		var first []*cell
		for _, u := range bench.Approaches(s, n) {
			u.TTL, u.Time = o.ttl, p.time
			c := &cell{workload: u, bases: first}
			if first == nil {
				first = []*cell{c}
			}
			cells = append(cells, c)
		}
	}
	return []group{{cells: cells}}
}

func verbs(s *bench.Server, o *options, p pace) []group {
	var cells []*cell
	for _, name := range bench.Verbs(s) {
		cells = append(cells, &cell{workload: bench.Verb{Server: s, Verb: name, TTL: o.ttl, Time: p.time}})
	}
	return []group{{cells: cells}}
}

// contention has one group, so that all ways run interleaved. The floor does not hold.
func contention(s *bench.Server, o *options, p pace) []group {
	var cells []*cell
	for _, hold := range o.holds {
		for _, n := range o.waiters {
			for _, processes := range processesFor(n, o.processes) {
				for _, name := range o.ways {
					way, lanes := wayOf(name)
					w := bench.Contention{Server: s, Way: way, Lanes: lanes, Waiters: n, Processes: processes, Hold: hold, TTL: o.ttl}
					w.Time = max(p.time, turns*time.Duration(n)*hold)
					if way != "floor" || hold == 0 {
						cells = append(cells, &cell{workload: w})
					}
				}
			}
		}
	}
	return []group{{cells: cells}}
}

// processesFor are no more than the waiters.
func processesFor(waiters int, list []int) []int {
	var some []int
	for _, n := range list {
		if n = min(n, waiters); !slices.Contains(some, n) {
			some = append(some, n)
		}
	}
	return some
}

// turns is how often each waiter gets the lock at least, if all get the same: an index of fairness of fewer would
// show that some have one turn more than others.
const turns = 6

// keepalive is a group for each number of locks.
func keepalive(s *bench.Server, o *options, p pace) []group {
	var groups []group
	for _, n := range o.locksOn(s) {
		var cells []*cell
		for _, way := range bench.Ways() {
			w := bench.KeepAlive{Server: s, Way: way, Locks: n, TTL: o.ttlOf("keepalive"), Time: p.time}
			cells = append(cells, &cell{workload: w})
		}
		groups = append(groups, group{cells: cells})
	}
	return groups
}

// runs is how many there are, for the progress.
func (s *section) runs() (n int) {
	for _, g := range s.groups {
		n += len(g.cells) * s.countOf(g)
	}
	return n
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
			p.show(fmt.Sprintf("round %d of %d: %s", round+1, count, workloads[i].Name()))
		}
		runs := 0
		done := func(i int, r bench.Result) error {
			g.cells[i].rounds = append(g.cells[i].rounds, r)
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
			if err := out.writeRatio(ratioName(c, base), c.rounds[round-1], base.rounds[round-1]); err != nil {
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

// uncontended is the workload of a cell that has such a one, or will have.
func (c *cell) uncontended() bench.Uncontended {
	if best, ok := c.workload.(bestOf); ok {
		return best.pick()
	}
	return c.workload.(bench.Uncontended)
}

// figures are the values of one figure, round by round.
func (c *cell) figures(f func(bench.Result) float64) []float64 {
	list := make([]float64, len(c.rounds))
	for i, r := range c.rounds {
		list[i] = f(r)
	}
	return list
}

func (c *cell) perOp() []float64 { return c.figures(bench.Result.PerOp) }

func perSecond(r bench.Result) float64 { return float64(r.Ops) / r.Elapsed.Seconds() }

// latency is that of all rounds together.
func (c *cell) latency() *hdrhistogram.Histogram {
	all := c.rounds[0].Latency.Clone()
	for _, r := range c.rounds[1:] {
		all.Merge(r.Latency)
	}
	return all
}
