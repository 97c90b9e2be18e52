package sim_test

import (
	"flag"
	"fmt"
	"testing"
)

var (
	sameSeeds = flag.Int("same", 1, "how many seeds of each mode TestASeedIsAWorld runs")
	sameAgain = flag.Int("again", 4, "how often it runs each again")
)

// TestASeedIsAWorld runs each seed again: the server's log is the same, to the nanosecond. doc.go says what it takes for that.
//
// What the servers are sent after the time of the work is over is not compared. And the race detector shuffles the goroutines that one
// moment makes runnable: under it only the verdicts are compared.
func TestASeedIsAWorld(t *testing.T) {
	for _, mode := range modes {
		if *oneMode != "" && mode != *oneMode {
			continue
		}
		for n := range *sameSeeds {
			p := newPlan(chance(*firstSeed+uint64(n)), mode, *simTime)
			t.Run(fmt.Sprintf("mode=%s/seed=%d", mode, p.seed), func(t *testing.T) {
				t.Parallel()
				first := run(t, p)
				for range *sameAgain {
					again := run(t, p)
					verdicts := fmt.Sprint(again.violations) == fmt.Sprint(first.violations)
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
