package lockbench

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// load has the groups of each kind of keys.
func load(s *bench.Server, o *options, p pace) []group {
	var groups []group
	for _, keys := range o.keys {
		if keys == "own" {
			groups = append(groups, loadOwn(s, o, p)...)
		} else {
			groups = append(groups, loadShared(s, o, p, keys)...)
		}
	}
	return groups
}

// loadOwn is a closed loop first, which finds the best bounded pool and what the fastest can do at most, and then a
// group for each rate of arrivals: that which -rates says, or a share of that most. All have the same rates.
func loadOwn(s *bench.Server, o *options, p pace) []group {
	closed, list := loadApproaches(s, o, p)
	groups := []group{{cells: closed, count: min(p.count, closedRounds), first: true}}
	for _, rate := range o.rates {
		groups = append(groups, loadCells(list, func() float64 { return float64(rate) }))
	}
	for _, percent := range o.shares() {
		share := float64(percent) / 100
		groups = append(groups, loadCells(list, func() float64 { return twoDigits(share * saturation(closed)) }))
	}
	return groups
}

// loadShared has a group for each rate and hold, of all ways that wait for a lock.
func loadShared(s *bench.Server, o *options, p pace, keys string) []group {
	var groups []group
	for _, hold := range o.holds {
		for _, rate := range o.rates {
			var cells []*cell
			for _, name := range o.ways {
				w, _ := wayOf(name) // which was checked
				u := bench.Uncontended{Server: s, Approach: w.Way, Lanes: w.Lanes, Goroutines: o.served, TTL: o.ttl, Time: p.time}
				if isLock(name) {
					cells = append(cells, &cell{workload: offered{u, func() float64 { return float64(rate) }, keys, hold}})
				}
			}
			groups = append(groups, group{cells: cells})
		}
	}
	return groups
}

// loadApproaches are those of the closed loop, and those of the open loop.
func loadApproaches(s *bench.Server, o *options, p pace) (closed []*cell, list []bench.Workload) {
	u := bench.Uncontended{Server: s, Approach: "floor", Goroutines: o.servedOwn(), TTL: o.ttl, Time: p.time}
	if o.approaches != nil {
		closed = toTheFirst(s, o, p, o.servedOwn(), named(o.approaches))
		for _, c := range closed {
			list = append(list, c.workload)
		}
		return closed, list
	}
	sizes := poolSizes(u, o.pools)
	floor, best := &cell{workload: u}, bestOf{sizes}
	u.Approach = "locker"
	closed, list = []*cell{floor, {workload: u}}, []bench.Workload{floor.workload, best, u}
	for _, u.Lanes = range bench.Lanes() {
		closed, list = append(closed, &cell{workload: u}), append(list, u)
	}
	return slices.Concat(closed[:1], sizes, closed[1:]), list
}

// closedRounds are enough to find the most within a few percent.
const closedRounds = 6

func loadCells(list []bench.Workload, rate func() float64) group {
	var cells []*cell
	for _, w := range list {
		cells = append(cells, &cell{workload: offered{of: w, rate: rate, keys: "own"}})
	}
	return group{cells: cells}
}

// saturation is what the fastest has done in a second; without any figure, one.
func saturation(closed []*cell) float64 {
	most := 1.0
	for _, c := range closed {
		if perOp := c.everPerOp(); len(perOp) > 0 {
			most = max(most, float64(time.Second)/figures.Summarize(perOp).Center)
		}
	}
	return most
}

// twoDigits makes rates that can be read, and that are found again in another run.
func twoDigits(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/unit) * unit
}

// An offered is a Load whose rate, and whose bounded pool, depend on what was measured before.
type offered struct {
	of   bench.Workload // a bestOf or an Uncontended
	rate func() float64
	keys string
	hold time.Duration
}

func (f offered) load() bench.Load {
	c := cell{workload: f.of}
	return bench.Load{Of: c.uncontended(), Rate: f.rate(), Keys: f.keys, Hold: f.hold}
}

func (f offered) Name() string { return f.load().Name() }

func (f offered) Run(ctx context.Context) (bench.Result, error) { return f.load().Run(ctx) }
