package sim_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedCount = flag.Int("seeds", len(modes), "how many seeds TestSeeds tries, in all modes together or in that of -mode")
	firstSeed = flag.Uint64("first", 1, "the first of them")
	oneMode   = flag.String("mode", "", "the only mode, of "+strings.Join(modes, ", ")+"; none: one after the other")
	simTime   = flag.Duration("sim", time.Second, "how long the work of a seed lasts, in its own time")
)

// TestSeeds simulates the library, its users and what goes wrong, by seed. doc.go says how to use it.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex // protects total
	var total outcome
	start := time.Now()
	t.Cleanup(func() {
		took := time.Since(start)
		t.Logf("%d seeds in %v: %d holds, %d calls, %d commands, %d updates, %d overlaps in unsafe worlds", *seedCount, took.Round(time.Millisecond),
			total.holds, total.calls, total.commands, total.updates, total.overlaps)
	})
	for n := 0; n < *seedCount && !(t.Failed() && failFast()); n += group {
		t.Run("group", func(t *testing.T) { // ends when all its seeds have
			for n := n; n < min(n+group, *seedCount); n++ {
				p := planOf(t, chance(*firstSeed+uint64(n)))
				t.Run(fmt.Sprintf("seed=%d/mode=%s", p.seed, p.mode), func(t *testing.T) {
					t.Parallel()
					o := run(t, p)
					mu.Lock()
					defer mu.Unlock()
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

// group is how many seeds are begun before any of the next.
const group = 16

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
		t.Logf("%s", o.trace.around(o.violations[0].at, 60, 10))
	}
}
