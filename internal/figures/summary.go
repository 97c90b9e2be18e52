package figures

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"
)

// A Summary is a median with its interval at a confidence of 95 %, which is infinite for fewer than LeastRounds values.
type Summary struct {
	Center, Low, High float64
	Rounds            int
}

// LeastRounds are what an interval takes.
const LeastRounds = 6

// Summarize sums values up; of none it is zero.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sum := benchmath.AssumeNothing.Summary(sample(values), 0.95)
	return Summary{sum.Center, sum.Lo, sum.Hi, len(values)}
}

func sample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds) // it sorts what it is given
}

func (s Summary) hasInterval() bool { return !math.IsInf(s.Low, 0) && !math.IsInf(s.High, 0) }

// Includes1 says of a ratio that it has an interval, which contains 1: no difference was found.
func (s Summary) Includes1() bool { return s.hasInterval() && s.Low <= 1 && 1 <= s.High }

// Interval writes the interval with its unit: "20.1–21.3 µs", "0.301–0.322"; "" if it is infinite.
func (s Summary) Interval(unit string) string {
	if !s.hasInterval() {
		return ""
	}
	low, high := Format(s.Low, unit), Format(s.High, unit)
	number, of, _ := strings.Cut(low, " ")
	if strings.HasSuffix(high, " "+of) {
		low = number
	}
	return low + "–" + high
}

// PlusMinus writes how far the farther end of the interval is from the median, as benchstat has it: "9 %"; "" if it is
// infinite.
func (s Summary) PlusMinus() string {
	if !s.hasInterval() {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*s.stray())
}

// stray is the same as a share of the median; of a median of 0 it is infinite, unless the interval is 0 too.
func (s Summary) stray() float64 {
	if s.Low == s.High {
		return 0
	}
	return max(s.High-s.Center, s.Center-s.Low) / math.Abs(s.Center)
}
