package figures_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

// figure is that of a unit of the first cell.
func figure(t *testing.T, raw, unit string) figures.Figure {
	t.Helper()
	set, err := figures.Read(write(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	f, ok := set.Cells[0].Figure(unit)
	if !ok {
		t.Fatalf("there is no %s in\n%s", unit, raw)
	}
	return f
}

func TestAnIntervalThatIncludesOneIsNoDifference(t *testing.T) {
	for _, tt := range []struct {
		low, center, high float64
		ratio             bool
		want              string
	}{
		{0.9, 0.95, 0.99, true, "0.950 (0.900–0.990)"}, {0.9, 0.95, 1.01, true, "~ (0.900–1.01)"}, {1, 1.1, 1.2, true, "~ (1.00–1.20)"},
		{1.01, 1.1, 1.2, true, "1.10 (1.01–1.20)"}, {0.9, 1, 1.05, false, "1 ± 10 %"}, {0.9, 1, 2.05, false, "1 (0.900–2.05)"},
		{7, 7, 7, false, "7"}, {0, 0, 3, false, "0"}, {math.Inf(-1), 7, math.Inf(1), false, "7"},
	} {
		f := figures.Figure{Summary: figures.Summary{Center: tt.center, Low: tt.low, High: tt.high}, Ratio: tt.ratio}
		if tt.ratio {
			f.Unit = "ratio"
		}
		if got := f.String(); got != tt.want {
			t.Errorf("%+v is %q, want %q", tt, got, tt.want)
		}
	}
}

// censored are ten rounds of a cell of 1000 arrivals or waits, of which some had not ended in the first rounds.
func censored(name, unit, unended string, of1000, inRounds int, ms ...float64) string {
	var b strings.Builder
	for i, v := range ms {
		n := 0
		if i < inRounds {
			n = of1000
		}
		fmt.Fprintf(&b, "Benchmark%s/rate=1000-2 %d 1000 ns/op %v %s %d %s %d goodput/s\n",
			name, 1000-n, 1e6*v, unit, n, unended, 1000-n)
	}
	return b.String()
}

var same = slices.Repeat([]float64{396}, 10)

func TestAPercentileOfWhatDidNotEndIsALowerBound(t *testing.T) {
	const exact, bound = "396 ms", "≥ 396 ms"
	for _, tt := range []struct {
		kind, unit, unended string
		of1000, inRounds    int
		want                string
	}{
		{"Load", "p99-ns", "unserved", 11, 10, bound}, {"Load", "p99-ns", "unserved", 10, 10, exact},
		{"Load", "p99-ns", "unserved", 11, 2, bound}, {"Load", "p99-ns", "unserved", 11, 1, exact}, // beyond the interval
		{"Load", "p50-ns", "unserved", 501, 10, bound}, {"Load", "p50-ns", "unserved", 500, 10, exact},
		{"Load", "p99.9-ns", "unserved", 2, 10, "–"}, {"Load", "p99.9-ns", "unserved", 0, 10, "–"}, // of 1000 arrivals
		{"Load", "generator-p99-ns", "unserved", 900, 10, exact},
		{"Contention", "wait-p99-ns", "wait-beyond", 11, 10, bound}, {"Contention", "wait-p99-ns", "wait-beyond", 0, 10, exact},
		{"Contention", "wait-p99-ns", "waiting", 900, 10, exact},
		{"Contention", "p99-ns", "wait-beyond", 900, 10, exact}, // of a hand-off
	} {
		unit := strings.Replace(tt.unit, "-ns", "-sec", 1)
		f := figure(t, censored(tt.kind+"/way=a", tt.unit, tt.unended, tt.of1000, tt.inRounds, same...), unit)
		if f.String() != tt.want || f.Median() != tt.want {
			t.Errorf("%+v: %q, %q", tt, f, f.Median())
		}
	}
	few := figure(t, censored("Load/way=a", "p99-ns", "unserved", 11, 1, 396, 396), "p99-sec")
	longest := figure(t, censored("Load/way=a", "p99-ns", "unserved", 11, 1, same...), "p99-sec").Worst()
	if few.Bound != figures.AtLeast || longest.Bound != figures.AtLeast || math.Abs(longest.Center-0.396) > 1e-9 {
		t.Errorf("of few rounds %v, the longest %v", few, longest)
	}
}

func TestTheLastPerMilleIsToldOfManyArrivals(t *testing.T) {
	for rate, want := range map[int]string{9999: "–", 10_000: "2.00 ms", 20_000: "2.00 ms"} { // for a second
		line := fmt.Sprintf("BenchmarkLoad/way=a/rate=%d-2 %d 1000 ns/op 2e6 p99.9-ns 1 unserved %[2]d goodput/s\n", rate, rate-1)
		if f := figure(t, strings.Repeat(line, 10), "p99.9-sec"); f.String() != want {
			t.Errorf("of %d: %q", rate, f)
		}
	}
}

// Of what is known only to be more, or less, a ratio is a bound; of two of them, nothing.
func TestARatioWithABoundIsABound(t *testing.T) {
	slow := []float64{20, 22, 24, 26, 28, 30, 32, 34, 36, 38} // ms; the interval is from 22 to 36
	fast := slices.Repeat([]float64{10}, 10)
	p99 := func(of1000, rounds int, ms []float64) figures.Figure {
		return figure(t, censored("Load/way=a", "p99-ns", "unserved", of1000, rounds, ms...), "p99-sec")
	}
	for _, tt := range []struct {
		name              string
		ours, rival       figures.Figure
		ratio, full, back string
	}{
		{"both exact", p99(0, 0, slow), p99(0, 0, fast), "2.90 (2.20–3.60)", "2.90 (2.20–3.60)", "0.345 (0.278–0.455)"},
		{"ours at least", p99(90, 10, slow), p99(0, 0, fast), "≥ 2.20", "≥ 2.20", "≤ 0.455"},
		{"the rival at least", p99(0, 0, fast), p99(90, 10, slow), "≤ 0.455", "≤ 0.455", "≥ 2.20"},
		{"both at least", p99(90, 10, slow), p99(90, 10, fast), "–", "–", "–"},
		{"both in the lowest round, which may be the highest", p99(90, 1, slow), p99(90, 1, fast), "2.90 (2.20–3.80)", "2.90 (2.20–3.80)", "0.345 (0.263–0.455)"},
		{"ours in two rounds", p99(90, 2, slow), p99(0, 0, fast), "≥ 2.20", "≥ 2.20", "≤ 0.455"},
		{"no difference", p99(0, 0, slow), p99(0, 0, slow), "~ (1.00–1.00)", "1.00 (1.00–1.00)", "~ (1.00–1.00)"},
	} {
		ratio, ok := tt.ours.Over(tt.rival)
		back, okBack := tt.rival.Over(tt.ours)
		if !ok || !okBack || ratio.String() != tt.ratio || ratio.Full() != tt.full || back.String() != tt.back {
			t.Errorf("%s: %v, %v; full %v, back %v", tt.name, ratio, ok, ratio.Full(), back)
		}
	}
	if _, ok := p99(0, 0, slow).Over(p99(0, 0, slow[:9])); ok {
		t.Error("ten rounds were paired with nine")
	}
	if _, ok := p99(0, 0, slow).Over(p99(0, 0, make([]float64, 10))); ok {
		t.Error("it was divided by zero")
	}
}

func TestArithmeticOfAMeasuredTime(t *testing.T) {
	f := figure(t, censored("Verb/verb=a", "p50-ns", "x", 0, 0, slices.Repeat([]float64{2}, 10)...), "p50-sec")
	if got := []string{f.Within(30), f.After(0.008)}; !slices.Equal(got, []string{"15,000", "100"}) {
		t.Errorf("%q", got)
	}
}

func TestADifferenceIsToldByManyRounds(t *testing.T) {
	of := func(n int, ms float64) figures.Figure {
		values := make([]float64, n)
		for i := range values {
			values[i] = ms + float64(i)/10
		}
		return figure(t, censored("Verb/verb=a", "p50-ns", "x", 0, 0, values...), "p50-sec")
	}
	for _, tt := range []struct {
		a, b        figures.Figure
		differs, ok bool
	}{{of(6, 1), of(6, 9), true, true}, {of(6, 1), of(6, 1.1), false, true}, {of(5, 1), of(6, 9), false, false}} {
		if differs, ok := tt.a.Differs(tt.b); differs != tt.differs || ok != tt.ok {
			t.Errorf("%v and %v: %v, %v", tt.a, tt.b, differs, ok)
		}
	}
}

func TestEveryUnitHasOneWordThatIsExplained(t *testing.T) {
	set, err := figures.Read(write(t, "BenchmarkLoad/rate=1-2 1 5 ns/op 3 zz 4 p50-ns 2 goodput/s 1 allocs/op 7 aa\nBenchmarkNew-2 1 5 ns/op\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range figures.KindOf("Load").WordsOf(set.Cells[:1]) {
		got = append(got, w.Name)
	}
	if want := []string{"served/s", "latency p50", "time over operations", "allocations", "aa", "zz"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if of := figures.KindOf("New").WordsOf(set.Cells[1:]); len(of) != 1 || !of[0].Main || of[0].Better != figures.Less {
		t.Errorf("a kind that is not known has %+v", of)
	}
	for _, k := range figures.Kinds {
		units, names := map[string]bool{}, map[string]bool{}
		for _, w := range k.Words {
			if units[w.Unit] || names[w.Name] {
				t.Errorf("%s has %s, %q twice", k.Name, w.Unit, w.Name)
			}
			units[w.Unit], names[w.Name] = true, true
			if _, ok := figures.MeaningOf(w.Name); w.Main && !ok && w.Name != "goroutines" {
				t.Errorf("the glossary does not explain %s, of %s", w.Name, k.Name)
			}
		}
	}
	if figures.Way("Contention", "floor") == figures.Way("AcquireRelease", "floor") || figures.Way("Load", "etcd") != "etcd" {
		t.Error("a way has no word of its own")
	}
}
