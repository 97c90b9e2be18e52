package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedCount  = flag.Int("seeds", 2*len(modes), "how many seeds TestSeeds tries, in all modes together or in that of -mode")
	firstSeed  = flag.Uint64("first", 1, "the first of them")
	oneMode    = flag.String("mode", "", "the only mode, of "+strings.Join(modes, ", ")+"; none: one after the other")
	seedsFor   = flag.Duration("for", 0, "no seed is begun after so much processor time; 0: all are")
	traceLines = flag.Int("trace", 60, "how many lines of what happened before a violation are shown")
	simTime    = flag.Duration("sim", time.Second, "how long the work of a seed lasts, in its own time")
)

// TestSeeds simulates the library, its users and what goes wrong, by seed. doc.go says how to use it.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex // protects total and byKind
	var total struct{ seeds, faults, holds, calls, commands, updates, lost, overlaps, ghosts int }
	byKind := map[string]int{} // faults
	start := time.Now()
	t.Cleanup(func() {
		took := time.Since(start)
		t.Logf("%d seeds in %v: %d holds, %d calls, %d commands, %d guarded updates, %d locks lost, %d faults, %d overlaps in unsafe worlds, %d ghosts in queues",
			total.seeds, took.Round(time.Millisecond), total.holds, total.calls, total.commands, total.updates, total.lost, total.faults, total.overlaps, total.ghosts)
		for _, name := range slices.Sorted(maps.Keys(byKind)) {
			t.Logf("  %-22s %7d", name, byKind[name])
		}
	})
	for n := 0; n < *seedCount && !(t.Failed() && failFast()) && !enough(); n += group {
		t.Run("group", func(t *testing.T) { // ends when all its seeds have
			for i := n; i < min(n+group, *seedCount); i++ {
				p := planOf(t, chance(*firstSeed+uint64(i)))
				t.Run(fmt.Sprintf("seed=%d/mode=%s", p.seed, p.mode), func(t *testing.T) {
					t.Parallel()
					o := run(t, p)
					mu.Lock()
					defer mu.Unlock()
					total.seeds++
					total.faults += len(p.faults)
					for _, f := range p.faults {
						byKind[f.kind]++
					}
					total.lost += o.lost
					total.ghosts += o.ghosts
					total.holds += o.holds
					total.calls += o.calls
					total.commands += o.commands
					total.updates += o.updates
					total.overlaps += o.overlaps
					if len(o.violations) > 0 {
						report(t, p, o)
					}
				})
			}
		})
	}
}

// enough reports whether the processor time of -for is used up.
func enough() bool { return *seedsFor > 0 && processorTime() > *seedsFor }

// group is how many seeds are begun before any of the next.
const group = 4

func failFast() bool { return flag.Lookup("test.failfast").Value.String() == "true" }

// planOf is the plan of a seed, in the mode of the command line.
func planOf(t *testing.T, seed chance) plan {
	mode := *oneMode
	if mode == "" {
		mode = modes[int(seed)%len(modes)]
	}
	if !slices.Contains(modes, mode) {
		t.Fatalf("there is no mode %q", mode)
	}
	return newPlan(seed, mode, *simTime)
}

// report says what a person needs to find the cause.
func report(t *testing.T, p plan, o outcome) {
	t.Errorf("%v", p)
	for i, v := range o.violations {
		if i == 5 {
			t.Errorf("and %d more", len(o.violations)-i)
			break
		}
		t.Errorf("%v", v)
	}
	t.Logf("again: go test ./internal/sim -run TestSeeds -seeds 1 -first %d -mode %s -sim %v", p.seed, p.mode, *simTime)
	if *shrinkRuns > 0 {
		p, o = shrink(t, p, o)
		t.Logf("the smallest world that does it, too: %v", p)
	}
	if len(o.violations) > 0 {
		t.Logf("%s", o.trace.around(o.violations[0].at, *traceLines, 10))
	}
}
