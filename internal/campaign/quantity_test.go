package campaign_test

import (
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
	"github.com/redigolock/redigolock/internal/figures"
)

func TestFiguresHaveThreeDigitsAndTheirUnit(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		unit string
		want string
	}{
		{5.5234e-6, "sec/op", "5.52 µs"}, {113.24e-6, "sec/op", "113 µs"}, {999.7e-9, "p50-sec", "1.00 µs"}, {0, "sec/op", "0 ns"},
		{1.5, "wait-p99-sec", "1.50 s"}, {0.0123, "cpu-sec/renewal", "12.3 ms"}, {62, "longest-sec", "62.0 s"},
		{16950, "acq/s", "17,000"}, {999_600, "acq/s", "1,000,000"}, {1_234_567, "goodput/s", "1,230,000"},
		{0.9996, "jain", "1.00"}, {0.98765, "jain", "0.988"}, {1, "jain", "1"}, {4.5, "cmds/acq", "4.50"}, {999.6, "cmds/acq", "1,000"},
		{4610.3, "B/lock", "4,610 B"}, {300, "net-B/acq", "300 B"}, {0.0314, "cores", "0.0314"}, {-1234, "x", "-1,230"},
		{2, "sec/op ratio", "2.00"},
	} {
		if got := campaign.Format(tt.v, tt.unit); got != tt.want {
			t.Errorf("%v %s is %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}

func TestAnIntervalThatIncludesOneIsNoDifference(t *testing.T) {
	for _, tt := range []struct {
		low, center, high float64
		ratio             bool
		want              string
	}{
		{0.9, 0.95, 0.99, true, "0.950 (0.900–0.990)"}, {0.9, 0.95, 1.01, true, "~ (0.900–1.01)"}, {1, 1.1, 1.2, true, "~ (1.00–1.20)"},
		{1.01, 1.1, 1.2, true, "1.10 (1.01–1.20)"}, {0.9, 1, 1.05, false, "1 ± 10 %"}, {0.9, 1, 2.05, false, "1 (0.900–2.05)"},
		{7, 7, 7, false, "7"}, {0, 0, 3, false, "0"},
	} {
		q := campaign.Quantity{Summary: figures.Summary{Center: tt.center, Low: tt.low, High: tt.high}, Ratio: tt.ratio}
		if got := q.String(); got != tt.want {
			t.Errorf("%+v is %q, want %q", tt, got, tt.want)
		}
	}
}
