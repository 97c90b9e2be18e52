package figures_test

import (
	"math"
	"slices"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

func TestFiguresHaveThreeDigitsAndTheirUnit(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		unit string
		want string
	}{
		{5.5234e-6, "sec/op", "5.52 µs"}, {113.24e-6, "sec/op", "113 µs"}, {999.7e-9, "p50-sec", "1.00 µs"},
		{999.4e-6, "p99-sec", "999 µs"}, {1e-9, "p50-sec", "1.00 ns"}, {0, "sec/op", "0 s"},
		{1.5, "wait-p99-sec", "1.50 s"}, {0.0123, "cpu-sec/renewal", "12.3 ms"}, {62, "longest-sec", "62.0 s"},
		{7200, "sec", "7,200 s"}, {-1.234e-3, "beyond-p50-sec", "-1.23 ms"},
		{16950, "acq/s", "17,000"}, {999_600, "acq/s", "1,000,000"}, {1_234_567, "goodput/s", "1,230,000"}, {0.5, "acq/s", "0.500"},
		{0.9996, "jain", "1.00"}, {0.98765, "jain", "0.988"}, {1, "jain", "1"}, {4.5, "cmds/acq", "4.50"}, {0.01234, "cmds/acq", "0.0123"},
		{999.6, "cmds/acq", "1,000"}, {0, "lost", "0"}, {-1234, "x", "-1,230"}, {-2.5, "x", "-2.50"},
		{4610.3, "B/lock", "4,610 B"}, {300, "net-B/acq", "300 B"}, {2.5e6, "B/s", "2,500,000 B"}, {0.0314, "cores", "0.0314"},
		{2, "sec/op ratio", "2.00"}, {math.Inf(1), "ratio", "+Inf"}, {math.NaN(), "ratio", "NaN"},
	} {
		if got := figures.Format(tt.v, tt.unit); got != tt.want {
			t.Errorf("%v %s is %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}

func TestWhatWasChosenHasNoZerosAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		unit string
		want string
	}{
		{50e-6, "sec", "50 µs"}, {100e-9, "sec", "100 ns"}, {1.5e-3, "sec", "1.5 ms"}, {0, "sec", "0 s"},
		{1.1, "ratio", "1.1"}, {2, "ratio", "2"}, {150_000, "acq/s", "150,000"}, {4096, "B/lock", "4,100 B"},
	} {
		if got := figures.Short(tt.v, tt.unit); got != tt.want {
			t.Errorf("%v %s is %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}

func TestIntervalsNameTheirUnitOnceWhereItIsTheSame(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		unit      string
		want      string
	}{
		{20.1e-6, 21.3e-6, "sec/op", "20.1–21.3 µs"}, {900e-6, 1.1e-3, "sec/op", "900 µs–1.10 ms"},
		{0.3012, 0.3, "ratio", "0.301–0.300"}, {36900, 37100, "acq/s", "36,900–37,100"}, {4580, 4611, "B/lock", "4,580–4,610 B"},
		{math.Inf(-1), math.Inf(1), "sec/op", ""},
	} {
		if got := (figures.Summary{Low: tt.low, High: tt.high}).Interval(tt.unit); got != tt.want {
			t.Errorf("%v to %v %s is %q, want %q", tt.low, tt.high, tt.unit, got, tt.want)
		}
	}
}

func TestThousandsAreSeparated(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1,000", "1234567": "1,234,567", "-1234": "-1,234", "-123": "-123", "12345.6789": "12,345.6789",
	} {
		if got := figures.Thousands(number); got != want {
			t.Errorf("%s is %q, want %q", number, got, want)
		}
	}
}

func TestOneThingIsNotPlural(t *testing.T) {
	for n, want := range map[int]string{0: "0 rounds", 1: "1 round", 2: "2 rounds", 1200: "1,200 rounds"} {
		if got := figures.Plural(n, "round"); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestValuesAreInTheOrderThatPeopleExpect(t *testing.T) {
	want := []string{"0s", "500us", "1ms", "1", "2s", "16", "30s", "1m", "128", "hot", "own", "zipf10000"}
	got := slices.Clone(want)
	slices.Reverse(got)
	if slices.SortFunc(got, figures.Natural); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
