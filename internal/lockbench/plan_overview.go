package lockbench

import (
	"time"

	"github.com/redigolock/redigolock/bench"
)

// The overview is what lockbench does without a flag: a dozen ways, apart and on one key, as few figures as tell a user
// which to take.
const (
	overviewGoroutines = 64 // apart
	overviewWaiters    = 16 // on one key
	overviewProcesses  = 2
	overviewHold       = time.Millisecond
	overviewWait       = 400 * time.Millisecond // of a round on one key: each waiter has its turn a few dozen times
)

// overview has hand-written redigo first, with which the others are compared.
func overview(s *bench.Server, o *options, p pace) []group {
	apart := []bench.Uncontended{{Approach: "floor"}, {Approach: "locker"}, {Approach: "locker", Lanes: 1}}
	for _, verb := range []string{"setnx", "setnx-get", "setnx-verified", "script"} {
		apart = append(apart, bench.Uncontended{Approach: verb})
	}
	apart = append(apart, bench.Uncontended{Approach: "setnx", Release: "tx"})
	if s.Native {
		apart = append(apart, bench.Uncontended{Approach: "setnx", Release: "native"})
	}
	var one []*cell
	for _, way := range []string{"polling", "fair", "cohort"} {
		one = append(one, &cell{workload: bench.Contention{Server: s, Way: way, Waiters: overviewWaiters,
			Processes: overviewProcesses, Hold: overviewHold, TTL: o.ttl, Time: max(p.time, overviewWait)}})
	}
	return []group{{cells: toTheFirst(s, o, p, overviewGoroutines, apart)}, {cells: one}}
}
