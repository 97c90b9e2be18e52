package campaign_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

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
		cell := censored(tt.kind+"/way=a", tt.unit, tt.unended, tt.of1000, tt.inRounds, same...)
		unit := strings.Replace(tt.unit, "-ns", "-sec", 1)
		c := open(t, map[string]string{"raw/a.txt": cell})
		if q, err := c.Cell(tt.kind, unit, "way=a"); err != nil || q.String() != tt.want {
			t.Errorf("%+v: %q, %v", tt, q.String(), err)
		}
		got, err := c.Median(tt.kind, unit, "way=a")
		if err != nil || got != tt.want {
			t.Errorf("%+v: the median is %q, %v", tt, got, err)
		}
		table := fmt.Sprintf(`{{table "" %q (every "way" "a") (columns (col "x" %q))}}`, tt.kind, unit)
		if page, err := render(t, c, table); err != nil || !strings.HasSuffix(page, "| `a` | "+tt.want+" |\n") {
			t.Errorf("%+v: the table is %q, %v", tt, page, err)
		}
	}
}

func TestTheLastPerMilleIsToldOfManyArrivals(t *testing.T) {
	for rate, want := range map[int]string{9999: "–", 10_000: "2.00 ms", 20_000: "2.00 ms"} { // for a second
		line := fmt.Sprintf("BenchmarkLoad/way=a/rate=%d-2 %d 1000 ns/op 2e6 p99.9-ns 1 unserved %[2]d goodput/s\n", rate, rate-1)
		c := open(t, map[string]string{"raw/a.txt": strings.Repeat(line, 10)})
		if q, err := c.Cell("Load", "p99.9-sec", "way=a"); err != nil || q.String() != want {
			t.Errorf("of %d: %q, %v", rate, q.String(), err)
		}
	}
}

// Of what is known only to be more, or less, a ratio is a bound; of two of them, nothing.
func TestARatioWithABoundIsABound(t *testing.T) {
	slow := []float64{20, 22, 24, 26, 28, 30, 32, 34, 36, 38} // ms; the interval is from 22 to 36
	fast := slices.Repeat([]float64{10}, 10)
	ours := func(of1000, rounds int, ms []float64) string {
		return censored("Load/way=fair", "p99-ns", "unserved", of1000, rounds, ms...)
	}
	rival := func(of1000, rounds int, ms []float64) string {
		return censored("Load/way=rival", "p99-ns", "unserved", of1000, rounds, ms...)
	}
	for _, tt := range []struct {
		name, raw    string
		ratio, asked string
		better       string // ours, of a unit of which less is better
		lost         bool
	}{
		{"both exact", ours(0, 0, slow) + rival(0, 0, fast), "2.90 (2.20–3.60)", "2.90 (2.20–3.60) | no", "0.345 (0.278–0.455)", true},
		{"ours at least, and worse", ours(90, 10, slow) + rival(0, 0, fast), "≥ 2.20", "≥ 2.20 | no", "≤ 0.455", true},
		{"ours at least, and better so far", ours(90, 10, fast) + rival(0, 0, slow), "≥ 0.278",
			"≥ 0.278 | open: it is only a bound", "≤ 3.60", false},
		{"the rival at least, and worse", ours(0, 0, fast) + rival(90, 10, slow), "≤ 0.455", "≤ 0.455 | yes", "≥ 2.20", false},
		{"the rival at least, and better so far", ours(0, 0, slow) + rival(90, 10, fast), "≤ 3.60",
			"≤ 3.60 | open: it is only a bound", "≥ 0.278", false},
		{"both at least", ours(90, 10, slow) + rival(90, 10, fast), "–", "– | open: it is only a bound", "–", false},
		{"both in the lowest round, which may be the highest", ours(90, 1, slow) + rival(90, 1, fast), "2.90 (2.20–3.80)", "2.90 (2.20–3.80) | no",
			"0.345 (0.263–0.455)", true},
		{"ours in two rounds", ours(90, 2, slow) + rival(0, 0, fast), "≥ 2.20", "≥ 2.20 | no", "≤ 0.455", true},
	} {
		c := open(t, map[string]string{"raw/load.txt": tt.raw})
		losses := ""
		if tt.lost {
			losses = "| x | `fair` | `rival` | p | " + tt.better + " |\n"
		}
		for template, want := range map[string]string{
			`{{ratio "Load" "p99-sec" "way=fair" "way=rival"}}`:                                     tt.ratio,
			`{{asked "at most" 1 (ratio "Load" "p99-sec" "way=fair" "way=rival")}}`:                 "at most 1 | " + tt.asked,
			`{{losses "x" "Load" "way=fair" (rivals "way" "rival") (columns (col "p" "p99-sec"))}}`: losses,
			`{{table "" "Load" (rivals "way") (columns (better "way=fair" (col "p" "p99-sec")))}}`:  "|  | p |\n| --- | --: |\n| `rival` | " + tt.better + " |\n",
		} {
			if got, err := render(t, c, template); err != nil || got != want {
				t.Errorf("%s: %s is %q, want %q; %v", tt.name, template, got, want, err)
			}
		}
	}
}

func TestTheLongestOfARoundThatWasCutIsABound(t *testing.T) {
	c := open(t, map[string]string{"raw/a.txt": censored("Load/way=a", "p99-ns", "unserved", 11, 1, same...)})
	q, err := c.Worst("Load", "p99-sec", "way=a")
	if err != nil || q.Bound != campaign.AtLeast || math.Abs(q.Center-0.396) > 1e-9 {
		t.Errorf("%+v, %v", q, err)
	}
}
