package bench_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

func TestWaitsThatHaveAllEndedHaveTheirPercentile(t *testing.T) {
	var list []time.Duration
	for i := range 1000 {
		list = append(list, time.Duration(i+1))
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for share, want := range map[float64]time.Duration{0.5: 500, 0.01: 990, 0.001: 999, 0: 1000} {
		if got, left := bench.LongerThan(list, nil, share); got != want || math.Abs(left-share) > 1e-9 {
			t.Errorf("all but %v wait for at most %v, %v wait longer; want %v", share, got, left, want)
		}
	}
	if got, left := bench.LongerThan([]time.Duration{7, 7, 7, 7}, nil, 0.01); got != 7 || left != 0 {
		t.Errorf("of equal waits %v, %v", got, left)
	}
}

// A wait that has not ended tells only that it is longer than it is.
func TestWaitsThatHaveNotEndedAreLonger(t *testing.T) {
	for name, x := range map[string]struct {
		ended, still []time.Duration
		want         time.Duration
		left         float64
	}{
		// As in the textbook: of 3 one ends at 1; of the 2 at 2 one is lost sight of; the last ends at 3.
		"lost sight of":     {[]time.Duration{1, 3}, []time.Duration{2}, 3, 0},
		"the longest":       {[]time.Duration{1, 1, 1}, []time.Duration{9}, 9, 0.25},
		"at the same time":  {[]time.Duration{5}, []time.Duration{5}, 5, 0.5},
		"only just begun":   {[]time.Duration{4, 5}, []time.Duration{1, 1, 1}, 5, 0},
		"nobody has got it": {nil, []time.Duration{3, 8}, 8, 1},
	} {
		if got, left := bench.LongerThan(x.ended, x.still, 0.01); got != x.want || math.Abs(left-x.left) > 1e-9 {
			t.Errorf("%s: %v, %v wait longer; want %v, %v", name, got, left, x.want, x.left)
		}
	}
}

// The estimate is that of the whole waits, though many of them were cut off at random: what it is for.
func TestWaitsThatWereCutOffHaveThePercentileOfTheWholeOnes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var whole, ended, still []time.Duration
	for range 100_000 {
		wait := time.Duration(rng.ExpFloat64() * 1e6)
		whole = append(whole, wait)
		if cut := time.Duration(rng.Float64() * 8e6); cut < wait {
			still = append(still, cut)
		} else {
			ended = append(ended, wait)
		}
	}
	slices.Sort(whole)
	want := whole[len(whole)*99/100]
	got, left := bench.LongerThan(ended, still, 0.01)
	if left > 0.0101 || math.Abs(float64(got-want)) > 0.05*float64(want) {
		t.Errorf("%v, %v wait longer; the whole waits have %v", got, left, want)
	}
	if naive, _ := bench.LongerThan(slices.Concat(ended, still), nil, 0.01); float64(naive) > 0.95*float64(want) {
		t.Errorf("what is cut off would not matter here: %v", naive)
	}
}
