package sim_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

var (
	seedCount  = flag.Int("seeds", 2*len(modes), "how many seeds TestSeeds tries, in all modes together or in that of -mode")
	firstSeed  = flag.Uint64("first", 1, "the first of them")
	oneMode    = flag.String("mode", "", "the only mode, of "+strings.Join(modes, ", ")+"; none: one after the other")
	seedsFor   = flag.Duration("for", 0, "no seed is begun after so much processor time; 0: all are")
	traceLines = flag.Int("trace", 60, "how many lines of what happened before a violation are shown")
	sumFile    = flag.String("sum", "", "the file for what the seeds came to, which go run ./internal/sim/sum adds up")
	simTime    = flag.Duration("sim", time.Second, "how long the work of a seed lasts, in its own time")
)

// TestSeeds simulates the library, its users and what goes wrong, by seed. doc.go says how to use it.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex // protects sum
	sum := sim.NewSum()
	start := time.Now()
	t.Cleanup(func() { conclude(t, sum, time.Since(start)) })
	for n := 0; n < *seedCount && !(t.Failed() && failFast()) && !enough(); n += group {
		t.Run("group", func(t *testing.T) { // ends when all its seeds have
			for i := n; i < min(n+group, *seedCount); i++ {
				p := planOf(t, chance(*firstSeed+uint64(i)))
				t.Run(fmt.Sprintf("seed=%d/mode=%s", p.seed, p.mode), func(t *testing.T) {
					t.Parallel()
					o := run(t, p)
					mu.Lock()
					defer mu.Unlock()
					sum.Add(o.sumUp(p))
					if len(o.violations) > 0 {
						report(t, p, o)
					}
				})
			}
		})
	}
}

// TestTheUsersTimeIsNotTheLibrarys has the Observer, and the worker after the return, take up to 3 ms each: some locks are over then,
// which the library gave in time.
func TestTheUsersTimeIsNotTheLibrarys(t *testing.T) {
	spent := 0
	for n := range 20 {
		p := newPlan(chance(*firstSeed+uint64(n)), "verified", time.Second)
		p.faults, p.sparse, p.sim = nil, false, time.Second
		p.minTTL, p.maxTTL, p.pace, p.parts = 10*time.Millisecond, 15*time.Millisecond, 100*time.Millisecond, 3*time.Millisecond
		o := run(t, p)
		spent += o.spent
		for _, v := range o.violations {
			if v.kind == "no validity" {
				t.Errorf("%v: %v", p, v)
			}
		}
	}
	if spent == 0 {
		t.Error("no lock was over in the user's own time: this test shows nothing")
	}
	t.Logf("%d locks were over in the user's own time", spent)
}

// sumUp is what one seed came to.
func (o outcome) sumUp(p plan) sim.Sum {
	s := sim.NewSum()
	s.Modes[p.mode] = sim.Figures{Seeds: 1, Holds: o.holds, Calls: o.calls, Commands: o.commands, Updates: o.updates, Faults: len(p.faults),
		Lost: o.lost, Overlaps: o.overlaps, Ghosts: o.ghosts, Violations: len(o.violations)}
	for _, f := range p.faults {
		s.Kinds[f.kind]++
	}
	for word, count := range o.redirects {
		s.Redirects[word] += count
	}
	for _, v := range o.violations {
		s.Violations[v.kind]++
	}
	if p.mode == "quorum" {
		for lost, count := range o.overlapsBy {
			s.OverlapsBy[fmt.Sprintf("%d of %d", lost, p.servers)] += count
		}
	}
	return s
}

// conclude says what all seeds came to, and writes it to the file of -sum.
func conclude(t *testing.T, sum sim.Sum, took time.Duration) {
	var total sim.Figures
	for _, f := range sum.Modes {
		total.Add(f)
	}
	if len(sum.OverlapsBy) > 0 {
		t.Logf("overlaps by the servers that may have lost the token of one of the two: %v", sum.OverlapsBy)
	}
	if len(sum.Redirects) > 0 {
		t.Logf("what the nodes of clusters have answered instead of a reply: %v", sum.Redirects)
	}
	t.Logf("%d seeds in %v: %d holds, %d calls, %d commands, %d guarded updates, %d locks lost, %d faults of %d kinds, %d overlaps in unsafe worlds, %d ghosts in queues",
		total.Seeds, took.Round(time.Millisecond), total.Holds, total.Calls, total.Commands, total.Updates, total.Lost, total.Faults, len(sum.Kinds), total.Overlaps, total.Ghosts)
	if *sumFile == "" {
		return
	}
	data, err := json.Marshal(sum)
	if err == nil {
		err = os.WriteFile(*sumFile, append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Error(err)
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
		p, o = shrink(t, p, o, *shrinkRuns)
		t.Logf("the smallest world that does it, too: %v", p)
	}
	if len(o.violations) > 0 {
		t.Logf("%s", o.trace.around(o.violations[0].at, *traceLines, 10))
	}
}
