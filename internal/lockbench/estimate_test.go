package lockbench

import (
	"testing"
	"time"
)

func TestDurationsAreAsOneSaysThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1 s", 1499 * time.Millisecond: "1 s", 59400 * time.Millisecond: "59 s", 59600 * time.Millisecond: "1 min",
		268 * time.Second: "4 min 30 s", 59*time.Minute + 54*time.Second: "59 min 50 s",
		59*time.Minute + 56*time.Second: "1 h",
		2*time.Hour + 11*time.Minute:    "2 h 10 min", 90 * time.Hour: "90 h",
	} {
		if got := about(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// All workloads have a length, and count with it for each round of each cell.
func TestEstimateIsCellsTimesCountTimesTime(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-workload", "contention", "-ways", "fair,cohort", "-waiters", "2,8", "-processes", "1", "-time", "10s",
			"-count", "3"}, "12 runs of 4 cells, about 2 min 20 s"}, // 10 s and a lead of 2 s each
		{[]string{"-workload", "contention", "-ways", "fair", "-waiters", "100", "-processes", "1", "-hold", "100ms",
			"-count", "1"}, "1 run of 1 cell, about 36 s"}, // three turns of each
		{[]string{"-workload", "ratios", "-goroutines", "1", "-time", "1s", "-count", "10"},
			"80 runs of 8 cells, about 1 min 20 s"},
		{[]string{"-workload", "keepalive", "-locks", "1,10", "-ttl", "20s"}, "4 runs of 4 cells, about 1 min 20 s"},
		{[]string{"-workload", "load", "-pools", "1,2", "-rates", "10", "-time", "2s", "-count", "10"},
			"102 runs of 13 cells, about 3 min 20 s"}, // the closed loop of 7 has 6 rounds
		{[]string{"-workload", "mux", "-goroutines", "1", "-pools", "1", "-time", "1s", "-count", "10"},
			"71 runs of 8 cells, about 1 min 10 s"},
		{[]string{"-workload", "recovery", "-ways", "floor,fair,fair-mux1,polling", "-ttl", "10s", "-count", "3"},
			"6 runs of 2 cells, about 1 min"},
	} {
		o, err := parse(tt.args, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		if got := estimateOf(plan(fakeServer(), &o)).String(); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.args, got, tt.want)
		}
	}
}
