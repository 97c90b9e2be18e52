package lockbench

import (
	"math"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// measuredCell is a floor over a pool, with rounds that took so many µs an op.
func measuredCell(poolSize int, perOp ...int) *cell {
	c := &cell{workload: bench.Uncontended{Server: fakeServer(), Approach: "floor", PoolSize: poolSize}}
	for _, us := range perOp {
		c.add(bench.Result{Ops: 1000, Elapsed: 1000 * time.Duration(us) * time.Microsecond})
	}
	return c
}

func TestBestIsTheLowestMedianOfThoseMeasured(t *testing.T) {
	lucky := measuredCell(1, 1, 50, 51) // the lowest round, not the lowest median
	for _, tt := range []struct {
		cells []*cell
		want  string
	}{
		{[]*cell{lucky, measuredCell(2, 40, 41, 42), measuredCell(4, 43, 44, 45), measuredCell(8)}, "floor-pool2"},
		{[]*cell{measuredCell(8), measuredCell(2)}, "floor-pool8"},
		{[]*cell{measuredCell(8), measuredCell(2, 9)}, "floor-pool2"},
	} {
		best := cell{workload: bestOf{tt.cells}}
		if got := best.uncontended().Called(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestSaturationIsOfTheFastest(t *testing.T) {
	if got := saturation([]*cell{measuredCell(1), measuredCell(2, 100), measuredCell(4, 49, 50, 51)}); got != 20_000 {
		t.Errorf("got %v a second, want 20000", got)
	}
	if got := saturation([]*cell{measuredCell(1)}); got != 1 {
		t.Errorf("nothing was measured: %v", got)
	}
	for v, want := range map[float64]float64{41049: 41000, 1: 1, 0.123: 0.12, 99.9: 100, 12_500: 13_000, 7: 7} {
		if got := twoDigits(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("two digits of %v: %v, want %v", v, got, want)
		}
	}
}

func TestRatesWaitForTheSaturation(t *testing.T) {
	o, err := parse([]string{"-workload", "load", "-loads", "50", "-pools", "2,4"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	sec := plan(fakeServer(), &o)[0]
	closed, open := sec.groups[0].cells, sec.groups[1].cells
	for i, c := range closed {
		c.rounds = measuredCell(0, 100-i).rounds // the last is the fastest: 94 µs
	}
	want := []string{"floor", "floor-pool4", "locker", "locker-mux1", "locker-mux2", "locker-mux4"}
	for i, c := range open {
		if got := c.workload.Name(); got != "Load/server=redis/keys=own/approach="+want[i]+"/rate=5300" {
			t.Errorf("got %s, want %s at 5300", got, want[i])
		}
	}
	o, err = parse([]string{"-workload", "load", "-rates", "700"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	groups := plan(fakeServer(), &o)[0].groups
	if got := groups[1].cells[0].workload.Name(); len(groups) != 2 || got != "Load/server=redis/keys=own/approach=floor/rate=700" {
		t.Errorf("-rates 700: %d groups, %s", len(groups), got)
	}
}

func noEnv(string) string { return "" }

func TestManyGoroutinesHaveFewerAndLongerRounds(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		count, goroutines int
		want              pace
	}{
		{200, 128, pace{30 * ms, 200}}, {200, 1024, pace{240 * ms, 50}}, {200, 256, pace{60 * ms, 200}},
		{6, 1024, pace{240 * ms, 6}}, {1, 1024, pace{240 * ms, 1}}, {20, 4096, pace{960 * ms, 6}},
	} {
		if got := forMany(pace{30 * ms, tt.count}, tt.goroutines); got != tt.want {
			t.Errorf("%d rounds, %d goroutines: %v, want %v", tt.count, tt.goroutines, got, tt.want)
		}
	}
}

// Each has a pair with all that it is to be compared with, at each number of goroutines.
func TestMuxComparesWithAllFloors(t *testing.T) {
	o, err := parse([]string{"-workload", "mux", "-goroutines", "1,128,1024"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	pairs := map[string]bool{}
	for _, g := range plan(fakeServer(), &o)[0].groups {
		for _, c := range g.cells {
			for _, base := range c.bases {
				pairs[ratioName(c, base)] = true
			}
		}
	}
	for _, want := range []string{
		"of=locker-mux1/to=locker/goroutines=1", "of=floor-copy/to=floor/goroutines=1",
		"of=locker-mux4/to=floor/goroutines=128", "of=locker-mux2/to=floor-pool1/goroutines=128",
		"of=locker/to=floor/goroutines=1024", "of=locker-mux2/to=locker-mux2-at-128/goroutines=1024",
	} {
		if !pairs["Ratio/server=redis/"+want] {
			t.Errorf("%s is not among %v", want, pairs)
		}
	}
	if n := len(pairs); n != 3*13+3 {
		t.Errorf("%d pairs", n)
	}
}

// The floor does not hold, there are not more processes than waiters, and a round is long enough for three turns of each.
func TestContentionHasTheCellsThatMakeSense(t *testing.T) {
	o, err := parse([]string{"-workload", "contention", "-waiters", "2,512", "-processes", "1,4", "-ways", "floor,cohort-mux2",
		"-hold", "0s,1ms", "-time", "300ms"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]time.Duration{}
	for _, c := range plan(fakeServer(), &o)[0].cells() {
		got[c.workload.Name()] = c.workload.(bench.Contention).Time
	}
	ms := time.Millisecond
	want := map[string]time.Duration{
		"floor/waiters=2/processes=1/hold=0s": 300 * ms, "cohort-mux2/waiters=2/processes=1/hold=0s": 300 * ms,
		"floor/waiters=2/processes=2/hold=0s": 300 * ms, "cohort-mux2/waiters=2/processes=2/hold=0s": 300 * ms,
		"floor/waiters=512/processes=1/hold=0s": 300 * ms, "cohort-mux2/waiters=512/processes=1/hold=0s": 300 * ms,
		"floor/waiters=512/processes=4/hold=0s": 300 * ms, "cohort-mux2/waiters=512/processes=4/hold=0s": 300 * ms,
		"cohort-mux2/waiters=2/processes=1/hold=1ms":   300 * ms,
		"cohort-mux2/waiters=2/processes=2/hold=1ms":   300 * ms,
		"cohort-mux2/waiters=512/processes=1/hold=1ms": 1536 * ms,
		"cohort-mux2/waiters=512/processes=4/hold=1ms": 1536 * ms,
	}
	if len(got) != len(want) {
		t.Errorf("%d cells, want %d: %v", len(got), len(want), got)
	}
	for name, d := range want {
		if got["Contention/server=redis/way="+name] != d {
			t.Errorf("%s: %v, want %v", name, got["Contention/server=redis/way="+name], d)
		}
	}
}
