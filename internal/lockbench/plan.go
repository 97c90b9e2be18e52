package lockbench

import (
	"slices"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// plan makes the sections.
func plan(s *bench.Server, o *options) []*section {
	var list []*section
	for _, name := range o.workloads {
		p := o.pace(name)
		list = append(list, &section{name: name, pace: p, delay: s.Delay, groups: planners[name](s, o, p)})
	}
	return list
}

var planners = map[string]func(*bench.Server, *options, pace) []group{
	"overview": overview, "approaches": approaches, "verbs": verbs, "contention": contention, "ratios": ratios,
	"keepalive": keepalive, "mux": mux, "load": load, "rivals": rivals, "recovery": recovery,
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
					w, _ := wayOf(name) // which was checked
					w.Server, w.Waiters, w.Processes, w.Hold, w.TTL = s, n, processes, hold, o.ttl
					w.Time = max(p.time, turns*time.Duration(n)*hold)
					if w.Way != "floor" || hold == 0 {
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
const turns = 3

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

// recovery has one group of all ways that wait for a lock, but through no Mux. Each round kills one holder.
func recovery(s *bench.Server, o *options, _ pace) []group {
	var cells []*cell
	for _, name := range o.ways {
		if recovers(name) {
			cells = append(cells, &cell{workload: bench.Recovery{Server: s, Way: name, TTL: o.ttlOf("recovery"), Times: 1}})
		}
	}
	return []group{{cells: cells}}
}
