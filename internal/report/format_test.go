package report_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redigolock/redigolock/internal/report"
)

func TestFiguresHaveThreeDigitsAndAUnit(t *testing.T) {
	for _, c := range []struct {
		unit              string
		center, low, high float64
		value, interval   string
	}{
		{"sec/op", 20.55e-6, 20.1e-6, 1.2e-3, "20.6\u00a0µs", "20.1 – 1200.0"},
		{"p50-sec", 0.9999e-3, 0.9e-3, 1.1e-3, "1.00\u00a0ms", "0.90 – 1.10"},
		{"p99-sec", 999.4e-6, 9e-6, 1e-3, "999\u00a0µs", "9 – 1000"},
		{"cpu-sec/renewal", 130e-9, 120e-9, 140e-9, "130\u00a0ns", "120 – 140"},
		{"sec/op", 2, 1, 3, "2.00\u00a0s", "1.00 – 3.00"},
		{"acq/s", 37012, 36900, 37100, "37.0\u00a0k/s", "36.9 – 37.1"},
		{"acq/s", 12.34, 12, 13, "12.3/s", "12.0 – 13.0"},
		{"acq/s", 0.5, 0.4, 0.6, "0.500/s", "0.400 – 0.600"},
		{"B/lock", 4610, 4580, 4611, "4.61\u00a0kB", "4.58 – 4.61"},
		{"net-B/op", 210, 200, 220, "210\u00a0B", "200 – 220"},
		{"B/s", 2.5e6, 2e6, 3e6, "2.50\u00a0MB/s", "2.00 – 3.00"},
		{"ratio", 0.2741, 0.27, 0.28, "0.274", "0.270 – 0.280"},
		{"jain", 1, 0.99, 1, "1.00", "0.99 – 1.00"},
		{"cmds/acq", 0.01234, 0.01, 0.02, "0.0123", "0.0100 – 0.0200"},
		{"goroutines", 100000, 99999, 1e5, "100\u00a0k", "100 – 100"},
		{"lost", 0, 0, 0, "0", "0 – 0"},
		{"sec/op", 0, 0, 0, "0\u00a0s", "0 – 0"},
		{"ratio", math.Inf(1), 1, math.Inf(1), "+Inf", "1 – +Inf"},
		{"ratio", math.NaN(), 1, 2, "NaN", "1 – 2"},
		{"odd-ratio", -2.5, -3, -2, "-2.50", "-3.00 – -2.00"},
	} {
		value, interval := report.Show(c.unit, c.center, c.low, c.high)
		if value != c.value || interval != c.interval {
			t.Errorf("%s of %v: %q, %q; want %q, %q", c.unit, c.center, value, interval, c.value, c.interval)
		}
	}
}

func TestNamesAreInTheOrderThatPeopleExpect(t *testing.T) {
	for _, want := range [][]string{
		{"1", "2", "16", "128", "1024"},
		{"0s", "500ms", "5s", "30s", "1m"},
		{"floor-pool2", "floor-pool16", "locker", "locker-mux1", "locker-mux4", "locker-mux16", "setnx"},
		{"", "a", "a1", "a01", "a1b", "b"},
		{"10%", "80%", "95%"},
		{"hot", "own", "zipf10000"},
	} {
		got := slices.Clone(want)
		r := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			r.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
			if slices.SortFunc(got, report.Natural); !slices.Equal(got, want) {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	}
}
