package campaign_test

import (
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
	"github.com/redigolock/redigolock/internal/figures"
)

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
		if tt.ratio {
			q.Unit = "ratio"
		}
		if got := q.String(); got != tt.want {
			t.Errorf("%+v is %q, want %q", tt, got, tt.want)
		}
	}
}
