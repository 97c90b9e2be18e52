package lockbench

import (
	"testing"

	"github.com/redigolock/redigolock/bench"
)

// A histogram takes 270 KB: those of a campaign's rounds would be gigabytes.
func TestRoundsKeepNoHistograms(t *testing.T) {
	contention := &cell{workload: bench.Contention{Server: fakeServer(), Way: "fair", Processes: 2}}
	load := &cell{workload: offered{of: bench.Uncontended{Server: fakeServer(), Approach: "floor"},
		rate: func() float64 { return 9 }, keys: "own"}}
	for _, c := range []*cell{contention, load} {
		for r := range 3 {
			c.add(madeUp(c, 1, r))
		}
		for _, r := range c.rounds {
			if r.Latency != nil || r.Loaded != nil && r.Loaded.Late != nil {
				t.Errorf("%s: a round has histograms", c.workload.Name())
			}
			con := r.Contest
			if con != nil && (con.Handoff != nil || con.Inside != nil || con.Across != nil) {
				t.Errorf("%s: a round has histograms", c.workload.Name())
			}
		}
		if n := c.latency.TotalCount(); n != 300 {
			t.Errorf("%s: %d values of 3 rounds of 100", c.workload.Name(), n)
		}
	}
	if n := contention.inside.TotalCount() + contention.across.TotalCount(); n != 600 {
		t.Errorf("%d values of a contention's two other histograms", n)
	}
	for unit, c := range map[string]*cell{"wait-p99-rounds": contention, "generator-p99-ns": load} {
		if n := len(c.metric(unit)); n != 3 {
			t.Errorf("%d of %s in 3 rounds", n, unit)
		}
	}
}
