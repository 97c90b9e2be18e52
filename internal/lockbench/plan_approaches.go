package lockbench

import (
	"slices"

	"github.com/redigolock/redigolock/bench"
)

// approaches compares with the first at each number of goroutines.
func approaches(s *bench.Server, o *options, p pace) []group {
	var cells []*cell
	for _, n := range o.goroutinesOf("approaches") {
		list := bench.Approaches(s, n)
		if o.approaches != nil {
			list = withReleases(s, named(o.approaches))
		}
		cells = append(cells, toTheFirst(s, o, p, n, list)...)
	}
	return []group{{cells: cells}}
}

// ourRivals are ours that rivals are measured with: the floors, and the Lockers that compare with most rivals.
var ourRivals = []string{"floor", "floor-pool16", "locker", "locker-mux1"}

// rivals has one group, so that all run interleaved.
func rivals(s *bench.Server, o *options, p pace) []group {
	names := o.approaches
	if names == nil {
		names = slices.Concat(ourRivals, bench.Rivals())
	}
	var cells []*cell
	for _, n := range o.goroutinesOf("rivals") {
		cells = append(cells, toTheFirst(s, o, p, n, named(names))...)
	}
	return []group{{cells: cells}}
}

func toTheFirst(s *bench.Server, o *options, p pace, goroutines int, list []bench.Uncontended) []*cell {
	var cells, first []*cell
	for _, u := range list {
		u.Server, u.Goroutines, u.TTL, u.Time = s, goroutines, o.ttl, p.time
		c := &cell{workload: u, bases: first}
		if first == nil {
			first = []*cell{c}
		}
		cells = append(cells, c)
	}
	return cells
}

// named are those of names that were checked.
func named(names []string) []bench.Uncontended {
	var list []bench.Uncontended
	for _, name := range names {
		u, _ := approachOf(name)
		u.Release = "lua"
		list = append(list, u)
	}
	return list
}

// withReleases has each verb with all releases that the server has.
func withReleases(s *bench.Server, list []bench.Uncontended) []bench.Uncontended {
	var all []bench.Uncontended
	for _, u := range list {
		all = append(all, u)
		if !slices.Contains([]string{"setnx", "setnx-verified", "setnx-get", "script"}, u.Approach) {
			continue
		}
		u.Release = "tx"
		all = append(all, u)
		if u.Release = "native"; s.Native {
			all = append(all, u)
		}
	}
	return all
}
