package figures_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

// Of a Load of 1000 arrivals a second for a second, of which some were not served; its ops are also those that had arrived
// before.
func TestAPercentileOfWhatHadNotEndedIsCensored(t *testing.T) {
	for _, tt := range []struct {
		unit     string
		unserved []int // of the rounds
		want     []bool
		median   bool
	}{
		{"p99-sec", []int{10, 11, 1000}, []bool{false, true, true}, true},
		{"p99-sec", []int{10, 10, 11}, []bool{false, false, true}, false},
		{"p50-sec", []int{500, 501}, []bool{false, true}, true},
		{"p99.9-sec", []int{1, 1, 1}, []bool{false, false, false}, false},
		{"goodput/s", []int{900}, nil, false},
	} {
		var b strings.Builder
		for _, n := range tt.unserved {
			served := 1000 - n
			fmt.Fprintf(&b, "BenchmarkLoad/rate=1000-2 %d 1 ns/op 5 p50-ns 6 p99-ns 7 p99.9-ns %d unserved %d goodput/s\n",
				max(2*served, 1), n, 2*served)
		}
		checkCensored(t, b.String(), tt.unit, tt.want, tt.median)
	}
	const wait = "BenchmarkContention/way=fair-2 1 1 ns/op 5 wait-p99-ns %v wait-beyond\n"
	checkCensored(t, fmt.Sprintf(wait+wait, 0.01, 0.011), "wait-p99-sec", []bool{false, true}, true)
	checkCensored(t, "BenchmarkContention/way=fair-2 1 1 ns/op 5 wait-p99-ns 9 waiting\n", "wait-p99-sec", nil, false)
}

func checkCensored(t *testing.T, raw, unit string, want []bool, median bool) {
	t.Helper()
	set, err := figures.Read(write(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	c := set.Cells[0]
	if got := c.Censored(unit); !slices.Equal(got, want) || c.MedianCensored(unit) != median {
		t.Errorf("%s of\n%s is censored %v, its median %v; want %v, %v", unit, raw, got, c.MedianCensored(unit), want, median)
	}
}
