package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/bench"
)

// A section is one workload of the command line: the tables of one kind.
type section struct {
	name   string
	pace   pace
	groups [][]*cell // the cells of a group run interleaved
}

// A cell is a line of a table, with what its rounds have measured.
type cell struct {
	workload bench.Workload
	base     *cell // that its ratios are of; nil: none
	rounds   []bench.Result
}

// plan makes the sections.
func plan(s *bench.Server, o *options) []*section {
	var list []*section
	for _, name := range o.workloads {
		sec := &section{name: name, pace: o.pace(name)}
		switch name {
		case "approaches":
			sec.groups = approaches(s, o, sec.pace)
		case "verbs":
			sec.groups = verbs(s, o, sec.pace)
		case "contention":
			sec.groups = contention(s, o, sec.pace)
		case "ratios":
			sec.groups = ratios(s, o, sec.pace)
		case "keepalive":
			sec.groups = keepalive(s, o, sec.pace)
		}
		list = append(list, sec)
	}
	return list
}

func approaches(s *bench.Server, o *options, p pace) [][]*cell {
	var group []*cell
	for _, n := range o.goroutines {
		var first *cell
		for _, u := range bench.Approaches(s, n) {
			u.TTL, u.Time = o.ttl, p.time
			c := &cell{workload: u, base: first}
			if first == nil {
				first = c
			}
			group = append(group, c)
		}
	}
	return [][]*cell{group}
}

func verbs(s *bench.Server, o *options, p pace) [][]*cell {
	var group []*cell
	for _, name := range bench.Verbs(s) {
		group = append(group, &cell{workload: bench.Verb{Server: s, Verb: name, TTL: o.ttl, Time: p.time}})
	}
	return [][]*cell{group}
}

func contention(s *bench.Server, o *options, p pace) [][]*cell {
	var group []*cell
	for _, n := range o.waiters {
		w := bench.Contention{Server: s, Waiters: n, Hold: o.hold, TTL: o.ttl, Time: p.time}
		group = append(group, &cell{workload: w})
	}
	return [][]*cell{group}
}

// keepalive is a group for each number of locks.
func keepalive(s *bench.Server, o *options, p pace) [][]*cell {
	var groups [][]*cell
	for _, n := range o.locksOn(s) {
		var group []*cell
		for _, way := range bench.Ways() {
			w := bench.KeepAlive{Server: s, Way: way, Locks: n, TTL: o.ttlOf("keepalive"), Time: p.time}
			group = append(group, &cell{workload: w})
		}
		groups = append(groups, group)
	}
	return groups
}

// ratios are two groups for each number of goroutines: fewer cells between two that are compared, less noise.
func ratios(s *bench.Server, o *options, p pace) [][]*cell {
	var groups [][]*cell
	for _, n := range o.goroutines {
		for _, approaches := range [][]string{{"floor", "locker", "locker-setnx"}, {"setnx", "setnx-verified"}} {
			base := bench.Uncontended{Server: s, Approach: approaches[0], Goroutines: n, TTL: o.ttl, Time: p.time}
			again := base
			again.Label = base.Approach + "-copy"
			first := &cell{workload: base}
			group := []*cell{first, {workload: again, base: first}}
			for _, approach := range approaches[1:] {
				u := base
				u.Approach = approach
				group = append(group, &cell{workload: u, base: first})
			}
			groups = append(groups, group)
		}
	}
	return groups
}

// runs is how many there are, for the progress.
func (s *section) runs() (n int) {
	for _, group := range s.groups {
		n += len(group) * s.pace.count
	}
	return n
}

// run measures all, round by round. What a round has brought is written in the order of the table, whatever the order
// of the runs was.
func (s *section) run(ctx context.Context, out *output, p *progress) error {
	for _, group := range s.groups {
		workloads := make([]bench.Workload, len(group))
		for i, c := range group {
			workloads[i] = c.workload
		}
		begin := func(round, i int) {
			p.show(fmt.Sprintf("round %d of %d: %s", round+1, s.pace.count, workloads[i].Name()))
		}
		runs := 0
		done := func(i int, r bench.Result) error {
			group[i].rounds = append(group[i].rounds, r)
			if runs++; runs%len(group) != 0 {
				return nil
			}
			return s.write(out, group, runs/len(group))
		}
		if err := bench.Rounds(ctx, s.pace.count, workloads, begin, done); err != nil {
			return errors.Join(err, s.write(out, group, runs/len(group)+1))
		}
	}
	return nil
}

// write writes a round, which counts from 1, of the cells that have it; of ratios, the ratios.
func (s *section) write(out *output, group []*cell, round int) error {
	for _, c := range group {
		if len(c.rounds) < round {
			continue
		}
		r := c.rounds[round-1]
		var err error
		switch {
		case s.name != "ratios":
			err = out.write(c.workload.Name(), r)
		case c.base != nil && len(c.base.rounds) >= round:
			err = out.writeRatio(ratioName(c), r.Ops, r.PerOp()/c.base.rounds[round-1].PerOp())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func ratioName(c *cell) string {
	u, base := c.workload.(bench.Uncontended), c.base.workload.(bench.Uncontended)
	return fmt.Sprintf("Ratio/server=%s/of=%s/to=%s/goroutines=%d", u.Server.Name, label(u), label(base), u.Goroutines)
}

func label(u bench.Uncontended) string {
	if u.Label != "" {
		return u.Label
	}
	return u.Approach
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
