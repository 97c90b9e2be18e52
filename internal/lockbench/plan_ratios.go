package lockbench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// ratios are two groups for each number of goroutines: fewer cells between two that are compared, less noise. Those of
// -approaches are one.
func ratios(s *bench.Server, o *options, p pace) []group {
	sets := [][]string{{"floor", "locker", "locker-setnx"}, {"setnx", "setnx-get", "setnx-verified"}}
	if o.approaches != nil {
		sets = [][]string{o.approaches}
	}
	var groups []group
	for _, n := range o.goroutinesOf("ratios") {
		for _, set := range sets {
			cells := toTheFirst(s, o, p, n, named(set))
			control := against(copyOf(cells[0].uncontended()), cells[0])
			groups = append(groups, group{cells: slices.Insert(cells, 1, control)})
		}
	}
	return groups
}

func against(w bench.Workload, bases ...*cell) *cell { return &cell{workload: w, bases: bases} }

// copyOf is the same under another name, as a control.
func copyOf(u bench.Uncontended) bench.Uncontended {
	u.Label = u.Called() + "-copy"
	return u
}

// mux is two groups for each number of goroutines. The first finds the best bounded pool, which is then a cell of the
// second: were it chosen from the rounds that it is compared in, the luckiest would be taken for the best. One more
// group compares the two highest numbers of goroutines.
func mux(s *bench.Server, o *options, p pace) []group {
	var groups []group
	for _, n := range o.goroutinesOf("mux") {
		p := forMany(p, n)
		u := bench.Uncontended{Server: s, Approach: "floor", Goroutines: n, TTL: o.ttl, Time: p.time}
		sizes := poolSizes(u, o.pools)
		sweep := group{cells: sizes, count: max(1, p.count/10), first: true}
		groups = append(groups, sweep, group{cells: muxPairs(u, sizes), count: p.count})
	}
	if g := muxGrowth(s, o, p); len(g.cells) > 0 {
		groups = append(groups, g)
	}
	return groups
}

// manyGoroutines are so many that some have done their last op well before the last of them has, in a round of 30 ms.
const manyGoroutines = 128

// forMany makes rounds longer, and fewer of them, so that the beginning and the end of a round weigh no more than they
// do with fewer goroutines. -count 6 stays 6, which an interval takes.
func forMany(p pace, goroutines int) pace {
	if goroutines <= manyGoroutines {
		return p
	}
	longer := float64(goroutines) / manyGoroutines
	fewer := int(2 * float64(p.count) / longer)
	return pace{time.Duration(longer * float64(p.time)), max(fewer, min(p.count, figures.LeastRounds))}
}

// poolSizes leaves those out that are larger than all who borrow.
func poolSizes(u bench.Uncontended, sizes []int) []*cell {
	var cells []*cell
	for _, size := range sizes {
		if size <= max(u.Goroutines, slices.Min(sizes)) {
			u.PoolSize = size
			cells = append(cells, &cell{workload: u})
		}
	}
	return cells
}

func muxPairs(u bench.Uncontended, sizes []*cell) []*cell {
	floor := &cell{workload: u}
	again := against(copyOf(u), floor)
	best := against(bestOf{sizes}, floor)
	u.Approach = "locker"
	locker := against(u, floor, best)
	cells := []*cell{floor, again, best, locker}
	for _, lanes := range bench.Lanes() {
		u.Lanes = lanes
		cells = append(cells, against(u, floor, best, locker))
	}
	return cells
}

// muxGrowth tells whether an op takes longer when there are more goroutines than the machine has use for.
func muxGrowth(s *bench.Server, o *options, p pace) group {
	sorted := slices.Sorted(slices.Values(o.goroutinesOf("mux")))
	if len(sorted) < 2 {
		return group{}
	}
	few, many := sorted[len(sorted)-2], sorted[len(sorted)-1]
	p = forMany(p, many)
	var cells []*cell
	for _, lanes := range bench.Lanes() {
		u := bench.Uncontended{Server: s, Approach: "locker", Lanes: lanes, Goroutines: many, TTL: o.ttl, Time: p.time}
		fewer := u
		fewer.Goroutines, fewer.Label = few, fmt.Sprintf("%s-at-%d", u.Called(), few)
		base := &cell{workload: fewer}
		cells = append(cells, base, against(u, base))
	}
	return group{cells: cells, count: p.count}
}

// A bestOf is the fastest of some cells, which are measured before.
type bestOf struct{ cells []*cell }

// pick is the one with the lowest median; without any figure, the first.
func (b bestOf) pick() bench.Uncontended {
	best, least := b.cells[0], math.Inf(1)
	for _, c := range b.cells {
		if perOp := c.everPerOp(); len(perOp) > 0 {
			if m := figures.Summarize(perOp).Center; m < least {
				best, least = c, m
			}
		}
	}
	return best.uncontended()
}

func (b bestOf) Name() string { return b.pick().Name() }

func (b bestOf) Run(ctx context.Context) (bench.Result, error) { return b.pick().Run(ctx) }
