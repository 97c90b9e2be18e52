//go:build !race

// The race detector makes these explorations ten times slower and has nothing to find: there is one goroutine in each.

package fairmodel_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redigolock/redigolock/internal/fairmodel"
)

// long asks for the large explorations: twenty minutes.
var long = os.Getenv("REDIGOLOCK_LONG") != ""

// most is how many states an exploration visits at most, where it does not say itself. It goes breadth first, so what it leaves
// out is far from the start. doc.go says how many explorations there are, and how long they take.
func most() int {
	switch {
	case long:
		return 100_000
	case testing.Short():
		return 15_000
	}
	return 25_000
}

// large is how many states are visited where a bound would hide what is looked for, and huge where the few largest worlds are.
const (
	large = 400_000
	huge  = 1_000_000
)

// explored are the explorations that have begun, for many rules share one.
var explored sync.Map

// keeps explores cfg and fails with the trace of the first broken property.
func keeps(t *testing.T, cfg fairmodel.Config) {
	t.Helper()
	if cfg.MaxStates == 0 || testing.Short() {
		cfg.MaxStates = most()
	}
	if _, again := explored.LoadOrStore(fmt.Sprintf("%+v", cfg), true); again {
		t.Log("another test explores this")
		return
	}
	r := explore(cfg)
	if r.Violation != "" {
		t.Fatalf("%+v: %s", cfg, r.Violation)
	}
	if r.Overflow > 0 {
		t.Fatalf("%+v: %d steps were left out: a state has too little room", cfg, r.Overflow)
	}
	t.Logf("%d states, %d steps between them, %d deep", r.States, r.Steps, r.Depth)
}

// budgetOf names the fields of a Budget that are to be 1, or more where a name comes again.
func budgetOf(slow int, names ...string) fairmodel.Budget {
	b := fairmodel.Budget{Slow: uint8(slow)}
	for _, name := range names {
		f := reflect.ValueOf(&b).Elem().FieldByName(name)
		f.SetUint(f.Uint() + 1)
	}
	return b
}

// faults are the names of all fields of a Budget but Slow.
func faults() []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[fairmodel.Budget]()) {
		if f.Name != "Slow" {
			names = append(names, f.Name)
		}
	}
	return names
}

// slowWith is how slow a short exploration may be: a TryAcquire makes for ten times as many states.
func slowWith(faults ...string) int {
	if slices.Contains(faults, "Try") {
		return 0
	}
	return 1
}

func TestProtocolKeepsItsPromisesWhenSlow(t *testing.T) {
	for _, x := range []struct {
		name string
		ttls [][]uint8
		slow int
		long bool
	}{
		{"two processes", twoSingles, 4, false},
		{"one process, two waiters", oneProcess, 4, false},
		{"two processes, three waiters", twoAndOne, 1, false},
		{"a heir with a longer ttl", longHeir, 1, false},
		{"a heir with a shorter ttl", shortHeir, 1, false},
		{"a cohort whose next ttl is much longer", muchLonger, 4, false},
		{"three processes", threeSingle, 1, false},
		{"two processes, four waiters", twoPairs, 0, false},
		{"two processes, three waiters, slower", twoAndOne, 2, true},
		{"three processes, slower", threeSingle, 2, true},
		{"two processes, four waiters, slower", twoPairs, 1, true},
	} {
		for _, cohort := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cohort %v", x.name, cohort), func(t *testing.T) {
				if x.long && !long {
					t.Skip("only with REDIGOLOCK_LONG")
				}
				t.Parallel()
				states := 0
				if x.long {
					states = huge
				}
				for _, warm := range []bool{false, true} {
					keeps(t, fairmodel.Config{TTLs: x.ttls, Cohort: cohort, Warm: warm, Budget: budgetOf(x.slow), MaxStates: states})
				}
			})
		}
	}
}

func TestProtocolKeepsItsPromisesAfterAnyFault(t *testing.T) {
	for _, fault := range faults() {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			keeps(t, fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(1, fault), Warm: true})
			keeps(t, fairmodel.Config{TTLs: twoSingles, Budget: budgetOf(0, fault), Warm: true})
			for _, cfg := range []fairmodel.Config{
				{TTLs: twoSingles, Budget: budgetOf(slowWith(fault), fault)},
				{TTLs: twoSingles, Budget: budgetOf(1, fault), Warm: true},
				{TTLs: oneProcess, Budget: budgetOf(2, fault), Cohort: true},
				{TTLs: muchLonger, Budget: budgetOf(1, fault), Cohort: true},
				{TTLs: longHeir, Budget: budgetOf(0, fault), Warm: true},
			} {
				keeps(t, cfg)
			}
			if fault != "Try" {
				keeps(t, fairmodel.Config{TTLs: threeSingle, Budget: budgetOf(0, fault), Warm: true})
			}
			if !long {
				return
			}
			for _, ttls := range [][][]uint8{twoSingles, twoAndOne, longHeir, shortHeir, threeSingle} {
				keeps(t, fairmodel.Config{TTLs: ttls, Budget: budgetOf(slowWith(fault), fault), Cohort: true})
			}
		})
	}
}

func TestProtocolKeepsItsPromisesAfterAnyTwoFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as all other explorations together")
	}
	names := faults()
	for i, a := range names {
		for _, b := range names[i:] {
			t.Run(a+" and "+b, func(t *testing.T) {
				t.Parallel()
				slow := slowWith(a, b)
				if long {
					slow++
				}
				keeps(t, fairmodel.Config{TTLs: twoSingles, Budget: budgetOf(slow, a, b), Warm: true})
				keeps(t, fairmodel.Config{TTLs: twoSingles, Budget: budgetOf(max(slow-1, 0), a, b)})
				keeps(t, fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(slow, a, b), Cohort: true})
			})
		}
	}
}

// With timers that are punctual, a lock that somebody takes away costs the waiters of its holder's process no lease.
func TestProtocolServesBehindAHolderWhoseLockIsTaken(t *testing.T) {
	t.Parallel()
	for _, ttls := range [][][]uint8{longPair, longTwo} {
		keeps(t, fairmodel.Config{TTLs: ttls, Budget: budgetOf(0, "Steal"), Warm: true, Punctual: true})
		keeps(t, fairmodel.Config{TTLs: ttls, Budget: budgetOf(0, "Steal"), Cohort: true, Punctual: true})
	}
}

// However many die together, they have K for one ttl and some ticks while others wait.
func TestProtocolBoundsTheDead(t *testing.T) {
	t.Parallel()
	dead := fairmodel.Config{TTLs: diesLong, Budget: budgetOf(0, "CrashAll"), Warm: true, Punctual: true, Prompt: true, MaxWaste: 18}
	keeps(t, dead)
	if long {
		dead.TTLs, dead.MaxWaste, dead.MaxStates = [][]uint8{{2, 2}, {10}, {10}, {10}}, 16, huge
		keeps(t, dead)
	}
}

// A waiter that is taken for dead loses its place, and nothing else.
func TestProtocolKeepsItsPromisesWhenLivingWaitersAreDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("an exploration for each fault")
	}
	for _, fault := range faults() {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			keeps(t, fairmodel.Config{TTLs: [][]uint8{{5}, {2}, {2}}, Budget: budgetOf(0, fault), Warm: true, Patience: 1})
		})
	}
}

func TestTraceTellsEveryStep(t *testing.T) {
	r := fairmodel.Explore(fairmodel.Config{TTLs: twoSingles, Mutant: fairmodel.UnconditionalRelease, Warm: true})
	trace, calm, _ := strings.Cut(strings.TrimSpace(r.Violation), "and without any further fault\n")
	lines := strings.Split(strings.TrimSpace(trace), "\n")
	if len(lines) != r.Depth+2 { // the property, and one step more than the last whole layer has
		t.Fatalf("%d steps deep, but the trace has %d lines:\n%s", r.Depth, len(lines), r.Violation)
	}
	step := regexp.MustCompile(`^ +(\d+|-) +\S.* K \S+ Q`)
	for _, line := range append(lines[1:], strings.Split(calm, "\n")...) {
		if !step.MatchString(line) {
			t.Errorf("not a step and the state after it: %q", line)
		}
	}
}
