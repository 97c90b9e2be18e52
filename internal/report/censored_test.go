package report_test

import (
	"fmt"
	"strings"
	"testing"
)

// loaded are six rounds of a way at 1000 arrivals a second, of which some are not served.
func loaded(way string, p99 float64, unserved int) string {
	return strings.Repeat(fmt.Sprintf("BenchmarkLoad/server=redis/keys=hot/approach=%s/rate=1000-2 %d 1 ns/op %v p99-ns %d unserved %d goodput/s\n",
		way, 1000-unserved, p99, unserved, 1000-unserved), 6)
}

// What was not served in time may have taken for ever: it is no better than what was.
func TestALowerBoundIsShownAsSuchAndIsNeverTheBest(t *testing.T) {
	const exact, worse = "fair", "polling"
	for _, tt := range []struct {
		bound float64
		want  [2]string
	}{
		{9e6, [2]string{"fair (base) | 2.00 ms best", "polling | ≥ 9.00 ms"}},
		{1e6, [2]string{"fair (base) | 2.00 ms", "polling | ≥ 1.00 ms"}}, // nobody can say which is better
	} {
		var got strings.Builder
		for i := range 2 {
			got.WriteString(strings.Join(texts(t, loaded(exact, 2e6, 0)+loaded(worse, tt.bound, 500), 0, 0, i), "\n") + "\n")
		}
		for _, want := range tt.want {
			if !strings.Contains(got.String(), want+"\n") {
				t.Errorf("the tables have no %q:\n%s", want, got.String())
			}
		}
	}
}
