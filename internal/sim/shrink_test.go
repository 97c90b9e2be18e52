package sim_test

import (
	"flag"
	"slices"
	"testing"
	"time"
)

var shrinkRuns = flag.Int("shrink", 80, "how many smaller worlds are tried, to find what of a seed that fails matters; 0: none")

// shrink looks for a smaller plan that still breaks the same promise: a shorter time, fewer faults, fewer processes, workers,
// and keys. It tries so many at most.
func shrink(t *testing.T, p plan, o outcome, runs int) (plan, outcome) {
	kind, left := o.violations[0].kind, runs
	smaller := func(q plan) bool {
		if left <= 0 || q.procs < 1 || q.workers < 1 || q.keys < 1 || q.sim < time.Millisecond {
			return false
		}
		left--
		again := run(t, q)
		if !slices.ContainsFunc(again.violations, func(v violation) bool { return v.kind == kind }) {
			return false
		}
		p, o = q, again
		return true
	}
	for progress := true; progress && left > 0; {
		progress = slices.ContainsFunc(smallerPlans(p), smaller)
	}
	return p, o
}

// smallerPlans are the plans that are a step smaller, those that save most first.
func smallerPlans(p plan) (all []plan) {
	with := func(change func(q *plan)) {
		q := p
		q.faults = slices.Clone(p.faults)
		change(&q)
		all = append(all, q)
	}
	with(func(q *plan) { q.sim /= 2; q.faults = until(q.faults, q.sim) })
	for n := len(p.faults) / 2; n > 0; n /= 2 {
		for i := 0; i+n <= len(p.faults); i += n {
			with(func(q *plan) { q.faults = slices.Delete(q.faults, i, i+n) })
		}
	}
	with(func(q *plan) { q.workers-- })
	if !slices.ContainsFunc(p.faults, func(f fault) bool { return f.proc == p.procs-1 }) {
		with(func(q *plan) { q.procs-- })
	}
	with(func(q *plan) { q.keys /= 2 })
	return all
}

// until are the faults that begin before the end.
func until(faults []fault, end time.Duration) []fault {
	return slices.DeleteFunc(faults, func(f fault) bool { return f.at >= end })
}

// TestShrink plants a fault, and finds that it needs no other.
func TestShrink(t *testing.T) {
	worldIsSafe.Store(true) // an overlap that a foreign DELETE has made is a violation here
	defer worldIsSafe.Store(false)
	var p plan
	var o outcome
	for seed := chance(1); !slices.ContainsFunc(o.violations, func(v violation) bool { return v.kind == "two holders" }); seed++ {
		p = newPlan(seed, "verified", time.Second)
		p.faults = nil
		for i, kind := range []string{"slow link", "scripts flushed", "foreign delete", "LOADING", "reply lost", "cut", "pause", "late command"} {
			p.faults = append(p.faults, fault{kind: kind, at: time.Duration(i+1) * 50 * time.Millisecond, lasts: 20 * time.Millisecond, n: 1})
		}
		o = run(t, p)
	}
	small, o := shrink(t, p, o, 80)
	if len(small.faults) != 1 || small.faults[0].kind != "foreign delete" || len(o.violations) == 0 {
		t.Errorf("the smallest plan is\n%v%v", small, o.violations)
	}
}
