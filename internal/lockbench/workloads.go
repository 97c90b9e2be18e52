package lockbench

import (
	"slices"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// A workload is one of -workload, with what -time and -count are by default.
type workload struct {
	name, about string
	time        time.Duration // 0: the ttl
	count       int
	groups      func(*plan) []group
}

// A plan is what the groups of a workload are made from.
type plan struct {
	*options
	server *bench.Server
	ttl    time.Duration // of the locks
	time   time.Duration // of a round
	count  int           // of rounds
}

// A group is cells that run interleaved, round by round. With pairs only their ratios are told.
type group struct {
	cells []cell
	pairs [][2]int // of a cell, to a cell
}

// A cell is one benchmark, and how long a round of it takes about.
type cell struct {
	bench.Workload
	takes time.Duration
}

var allWorkloads = []string{"approaches", "verbs", "contention", "ratios"} // that "all" means: the others take minutes

var workloads = []workload{
	{"overview", "a dozen ways, apart and on one key, and what the figures mean", 120 * time.Millisecond, 6, overview},
	{"approaches", "acquire + release of distinct keys, over approach, release and goroutines", 80 * time.Millisecond, 6, approaches},
	{"verbs", "each verb alone, by one goroutine on one connection", 80 * time.Millisecond, 6, verbs},
	{"contention", "waiters of one key, in several processes: hand-off, throughput, fairness, waits;\n" +
		"no figure if two ever hold", 150 * time.Millisecond, 3, contention},
	{"ratios", "paired ratios: a Locker to redigo by hand, the double check to SetNX, Mux and Fair to a Locker\n" +
		"on a pool; a copy shows noise", 30 * time.Millisecond, 100, ratios},
	{"keepalive", "many locks kept alive, by one Locker, a loop by hand, and rivals; no figure if one is lost", 0, 1, keepalive},
	{"load", "open loop: latency from the moment at which each acquire was to arrive, at a rate", time.Second, 3, load},
	{"recovery", "a holder is killed (kill -9): how long nobody holds; a round is one kill", 0, 5, recovery},
}

func workloadOf(name string) *workload {
	if i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name }); i >= 0 {
		return &workloads[i]
	}
	return nil
}

// planOf takes from the options what they say, and else the workload's own.
func planOf(s *bench.Server, o *options, w *workload) *plan {
	p := &plan{options: o, server: s, ttl: o.ttlOf(w.name), time: w.time, count: w.count}
	if p.time == 0 {
		p.time = p.ttl
	}
	if o.time > 0 && w.name != "recovery" {
		p.time = o.time
	}
	if o.count > 0 {
		p.count = o.count
	}
	return p
}

// goroutinesOr is what -goroutines says, or else these.
func (p *plan) goroutinesOr(list ...int) []int {
	if p.goroutines != nil {
		return p.goroutines
	}
	return list
}

// uncontended are cells of some approaches.
func (p *plan) uncontended(list []bench.Uncontended, goroutines int) []cell {
	var cells []cell
	for _, u := range list {
		u.Server, u.Goroutines, u.TTL, u.Time = p.server, goroutines, p.ttl, p.time
		cells = append(cells, cell{u, p.time})
	}
	return cells
}

// named are those of names that were checked.
func named(names ...string) []bench.Uncontended {
	var list []bench.Uncontended
	for _, name := range names {
		u, _ := bench.ApproachCalled(name)
		list = append(list, u)
	}
	return list
}

// Of the overview.
const (
	overviewGoroutines = 64 // apart
	overviewWaiters    = 16 // on one key
	overviewProcesses  = 2
	overviewHold       = time.Millisecond
	overviewWait       = 400 * time.Millisecond // of a round on one key: each waiter has its turn a few dozen times
)

func overview(p *plan) []group {
	apart := named("floor", "locker", "locker-mux1", "setnx", "setnx-get", "setnx-verified", "script", "setnx")
	apart[len(apart)-1].Release = "tx"
	if p.server.Native {
		apart = append(apart, bench.Uncontended{Approach: "setnx", Release: "native"})
	}
	var one []cell
	for _, way := range []string{"polling", "fair", "cohort"} {
		length := max(p.time, overviewWait)
		one = append(one, cell{bench.Contention{Server: p.server, Way: way, Waiters: overviewWaiters,
			Processes: overviewProcesses, Hold: overviewHold, TTL: p.ttl, Time: length}, length})
	}
	return []group{{cells: p.uncontended(apart, overviewGoroutines)}, {cells: one}}
}

func approaches(p *plan) []group {
	var g group
	for _, n := range p.goroutinesOr(1, 16, 128) {
		all := bench.Approaches(p.server, n)
		if p.approaches != nil {
			all = withReleases(p.server, named(p.approaches...))
		}
		g.cells = append(g.cells, p.uncontended(all, n)...)
	}
	return []group{g}
}

// withReleases has each verb with all releases that the server has.
func withReleases(s *bench.Server, list []bench.Uncontended) []bench.Uncontended {
	var all []bench.Uncontended
	for _, u := range list {
		for _, u.Release = range bench.Releases(s, u.Approach) {
			all = append(all, u)
		}
	}
	return all
}

func verbs(p *plan) []group {
	var g group
	for _, name := range bench.Verbs(p.server) {
		g.cells = append(g.cells, cell{bench.Verb{Server: p.server, Verb: name, TTL: p.ttl, Time: p.time}, p.time})
	}
	return []group{g}
}

// turns is how often each waiter gets the lock at least where it is held for a time, if all get the same: an index of
// fairness of fewer would show that some have one turn more than others.
const turns = 3

// contention is one group, so that all ways run interleaved. The floor does not hold.
func contention(p *plan) []group {
	var g group
	for _, hold := range p.holds {
		for _, n := range p.waiters {
			for _, processes := range atMost(n, p.processes) {
				for _, name := range p.ways {
					w := wayOf(name)
					w.Server, w.Waiters, w.Processes, w.Hold, w.TTL = p.server, n, processes, hold, p.ttl
					w.Time = max(p.time, turns*time.Duration(n)*hold)
					if isLock(name) || hold == 0 {
						g.cells = append(g.cells, cell{w, w.Time + w.Time/5}) // with its lead
					}
				}
			}
		}
	}
	return []group{g}
}

// atMost has no more processes than waiters.
func atMost(most int, list []int) []int {
	var some []int
	for _, n := range list {
		if n = min(n, most); !slices.Contains(some, n) {
			some = append(some, n)
		}
	}
	return some
}

// ratios are three groups for each number of goroutines: fewer cells between two that are compared, less noise.
func ratios(p *plan) []group {
	return p.paired(p.goroutinesOr(1, 2, 16, 128), []string{"floor", "locker", "locker-setnx", "locker-mux1"},
		[]string{"setnx", "setnx-get", "setnx-verified"}, []string{"locker", "locker-mux1", "locker-mux2", "fair"})
}

// paired compares all of a set with the first of it, and with a copy of the first as the control. Those of -approaches are
// one set.
func (p *plan) paired(goroutines []int, sets ...[]string) []group {
	if p.approaches != nil {
		sets = [][]string{p.approaches}
	}
	var groups []group
	for _, n := range goroutines {
		for _, set := range sets {
			list := named(slices.Insert(slices.Clone(set), 1, set[0])...)
			list[1].Label = list[1].Called() + "-copy"
			g := group{cells: p.uncontended(list, n)}
			for i := range list[1:] {
				g.pairs = append(g.pairs, [2]int{i + 1, 0})
			}
			groups = append(groups, g)
		}
	}
	return groups
}

func keepalive(p *plan) []group {
	locks := p.locks
	if locks == nil {
		locks = []int{1, 1000, 10_000}
		if p.server.Embedded() {
			locks = locks[:2]
		}
	}
	var groups []group
	for _, n := range locks {
		var g group
		for _, way := range bench.KeepingWays() {
			g.cells = append(g.cells, cell{bench.KeepAlive{Server: p.server, Way: way, Locks: n, TTL: p.ttl, Time: p.time}, p.time})
		}
		groups = append(groups, g)
	}
	return groups
}

// recovery kills one holder of each way in each round.
func recovery(p *plan) []group {
	var g group
	for _, name := range p.ways {
		if recovers(name) {
			g.cells = append(g.cells, cell{bench.Recovery{Server: p.server, Way: name, TTL: p.ttl}, p.ttl})
		}
	}
	return []group{g}
}

// load is a group for each kind of keys, hold and rate. Keys that are shared are waited for.
func load(p *plan) []group {
	own := p.approaches
	if own == nil {
		own = []string{"floor", "locker", "locker-mux1"}
	}
	var groups []group
	for _, keys := range p.keys {
		list, holds := named(own...), []time.Duration{0}
		if keys != "own" {
			list, holds = nil, p.holds
			for _, name := range p.ways {
				if w := wayOf(name); isLock(name) {
					list = append(list, bench.Uncontended{Approach: w.Way, Lanes: w.Lanes})
				}
			}
		}
		for _, hold := range holds {
			for _, rate := range p.rates {
				var g group
				for _, c := range p.uncontended(list, 0) {
					g.cells = append(g.cells, cell{bench.Load{Of: c.Workload.(bench.Uncontended), Keys: keys, Hold: hold, Rate: float64(rate)}, p.time})
				}
				groups = append(groups, g)
			}
		}
	}
	return groups
}
