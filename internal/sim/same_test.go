package sim_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var (
	sameSeeds = flag.Int("same", 1, "how many seeds of each mode TestASeedIsAWorld runs")
	sameAgain = flag.Int("again", 4, "how often it runs each again")
)

// TestASeedIsAWorld runs each seed again: the server's log is the same, to the nanosecond.
//
// One order is left to the runtime: Close waits for whole OpTimeouts, and the clean-ups that it waits for try again after whole
// OpTimeouts, so both can be due in the same nanosecond. So no Locker is closed here before the work is over, and what the
// server is sent afterwards is not compared. And the race detector shuffles the goroutines that one moment makes runnable: under
// it only the verdicts are compared.
//
// Another is left where a process has a Mux: the goroutine that reads for all hands a reply over and goes on, while its caller does, in
// the same nanosecond, so the runtime may decide what travels with what. There, too, only the verdicts are compared; with -v the test
// says which logs differ.
//
// With one processor (GOMAXPROCS=1) that is not over: of an unfinished run of 25 seeds a mode with -sim 2s, the logs of 13 seeds of mode
// mux and of 9 of fairmux differed.
//
// Mode cohort, seed 11 with -sim 2s: two extensions of one process, for two keys, are due in the same nanosecond, and each has its
// goroutine.
//
// Not explained yet: mode fair, seed 21, where clean-ups of a host that was suspended come to the server in one of two orders, and seed 4
// with -sim 2s.
func TestASeedIsAWorld(t *testing.T) {
	for _, mode := range modes {
		for n := range *sameSeeds {
			p := newPlan(chance(*firstSeed+uint64(n)), mode, *simTime)
			p.faults = slices.DeleteFunc(p.faults, func(f fault) bool { return f.kind == "closed" })
			t.Run(fmt.Sprintf("mode=%s/seed=%d", mode, p.seed), func(t *testing.T) {
				t.Parallel()
				first := run(t, p)
				for range *sameAgain {
					again := run(t, p)
					verdicts := fmt.Sprint(again.violations) == fmt.Sprint(first.violations)
					if verdicts && again.sum != first.sum && p.hasMux() {
						t.Logf("the logs differ, the verdicts do not: %s and %s", first.sum, again.sum)
						continue
					}
					if again.sum != first.sum && !raceEnabled || !verdicts {
						t.Errorf("the logs are %s, of %d commands, and %s, of %d", first.sum, first.commands, again.sum, again.commands)
						differ(t, first, again)
						return
					}
				}
			})
		}
	}
}

// hasMux reports whether a process of the world has a Mux (incarnation.newLocker).
func (p plan) hasMux() bool {
	return strings.HasSuffix(p.mode, "mux") || p.procs > 2 && (p.mode == "mixed" || p.mode == "foreign")
}

// differ says where the server's logs of two runs part.
func differ(t *testing.T, a, b outcome) {
	one, two := a.log.sorted(), b.log.sorted()
	for i := range max(len(one), len(two)) {
		if i < min(len(one), len(two)) && one[i] == two[i] {
			continue
		}
		t.Logf("they part here:\n%s\nand\n%s", text(one[max(0, i-12):min(len(one), i+8)]), text(two[max(0, i-3):min(len(two), i+8)]))
		at := one[min(i, len(one)-1)].at
		t.Logf("where this happened:\n%s\nand\n%s", a.trace.around(at, 30, 10), b.trace.around(at, 5, 10))
		return
	}
}
