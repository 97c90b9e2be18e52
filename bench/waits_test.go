package bench_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// from are waits that begin with the time.
func from(lengths ...time.Duration) []bench.Wait {
	var list []bench.Wait
	for _, n := range lengths {
		list = append(list, bench.Wait{Got: n})
	}
	return list
}

func TestWaitsThatHaveAllEndedHaveTheirPercentile(t *testing.T) {
	var list []time.Duration
	for i := range 1000 {
		list = append(list, time.Duration(i+1))
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for share, want := range map[float64]time.Duration{0.5: 500, 0.01: 990, 0.001: 999, 0: 1000} {
		if got, left := bench.LongerThan(from(list...), time.Hour, share); got != want || math.Abs(left-share) > 1e-9 {
			t.Errorf("all but %v wait for at most %v, %v wait longer; want %v", share, got, left, want)
		}
	}
	if got, left := bench.LongerThan(from(7, 7, 7, 7), time.Hour, 0.01); got != 7 || left != 0 {
		t.Errorf("of equal waits %v, %v", got, left)
	}
}

// A wait that has not ended tells only that it is longer than it is; one that began early, only what was seen of it.
func TestWaitsThatAreNotSeenWhole(t *testing.T) {
	const length, more = 100, 1000
	for name, x := range map[string]struct {
		list []bench.Wait
		want time.Duration
		left float64
	}{
		// As in the textbook: of 3 one ends at 1; of the 2 at 2 one is lost sight of; the last ends at 3.
		"lost sight of":     {append(from(1, 3), bench.Wait{length - 2, more}), 3, 0},
		"the longest":       {append(from(1, 1, 1), bench.Wait{length - 9, more}), 9, 0.25},
		"at the same time":  {append(from(5), bench.Wait{length - 5, more}), 5, 0.5},
		"only just begun":   {append(from(4, 5), bench.Wait{length - 1, more}, bench.Wait{length - 1, more}), 5, 0},
		"nobody has got it": {[]bench.Wait{{length - 3, more}, {length - 8, more}}, 8, 1},
		// Of two that wait for 4 one ends there; of the other, and one that had waited for 6 already, one at 8, one at 9.
		"began early":  {append(from(4, 8), bench.Wait{-6, 3}), 9, 0},
		"ended early":  {append(from(4), bench.Wait{-9, -1}), 4, 0},
		"not in sight": {append(from(4), bench.Wait{length, more}), 4, 0},
	} {
		if got, left := bench.LongerThan(x.list, length, 0.01); got != x.want || math.Abs(left-x.left) > 1e-9 {
			t.Errorf("%s: %v, %v wait longer; want %v, %v", name, got, left, x.want, x.left)
		}
	}
	if got, left := bench.LongerThan(append(from(4, 8), bench.Wait{-6, 3}), length, 0.5); got != 4 || left != 0.5 {
		t.Errorf("half of those seen at 4 wait longer; got %v, %v", got, left)
	}
}

// Waiters who wait again and again, mostly for a short time and sometimes for long, are seen for some time. The estimate is
// that of all their waits: what it is for.
func TestWaitsSeenForSomeTimeHaveThePercentileOfAll(t *testing.T) {
	const length, lead = 700 * time.Millisecond, 300 * time.Millisecond
	rng := rand.New(rand.NewPCG(1, 2))
	var whole []time.Duration
	var list []bench.Wait
	for range 20_000 {
		for now := -lead; now < length; {
			wait := time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond))
			if rng.IntN(20) == 0 {
				wait *= 20
			}
			list = append(list, bench.Wait{now, now + wait})
			whole = append(whole, wait)
			now += wait
		}
	}
	slices.Sort(whole)
	want := float64(whole[len(whole)*99/100])
	got, left := bench.LongerThan(list, length, 0.01)
	if left > 0.0101 || math.Abs(float64(got)-want) > 0.05*want {
		t.Errorf("%v, %v wait longer; all waits have %v", got, left, time.Duration(want))
	}
}
