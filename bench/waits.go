package bench

import (
	"slices"
	"time"
)

// waits are how long waiters have waited; of those who still waited when the time was up, how long until then; and how long
// those of both who came before the time began had waited until it did.
type waits struct {
	ended, still, before []time.Duration
}

func (w *waits) add(wait, before time.Duration, still bool) {
	if before > 0 {
		w.before = append(w.before, before)
	}
	if still {
		w.still = append(w.still, wait)
	} else {
		w.ended = append(w.ended, wait)
	}
}

// longest is the longest wait: a lower bound, if it is that of one who still waited.
func (w *waits) longest() time.Duration {
	return slices.Max(slices.Concat(w.ended, w.still, []time.Duration{0}))
}

// longerThan is the wait that all but a share of the waits do not exceed, estimated as Kaplan and Meier do (Nonparametric
// Estimation from Incomplete Observations, 1958): a wait that had not ended is known to be longer than what it had come
// to, and counts until there; one that began before the time did is seen because it was that long, and counts from there.
// left is the share of the waits that is longer than it; if that is more than share, nothing more is known, and the wait
// is the longest seen, a lower bound.
func (w *waits) longerThan(share float64) (wait time.Duration, left float64) {
	slices.Sort(w.ended)
	slices.Sort(w.still)
	slices.Sort(w.before)
	left = 1
	censored, seen := 0, 0 // before the wait that is looked at
	for i, wait := range w.ended {
		for censored < len(w.still) && w.still[censored] < wait {
			censored++
		}
		for seen < len(w.before) && w.before[seen] <= wait {
			seen++
		}
		among := len(w.ended) - i + len(w.still) - censored - (len(w.before) - seen)
		left *= 1 - 1/float64(among)
		if left <= share*(1+1e-9) { // what was multiplied is rounded
			return wait, left
		}
	}
	return w.longest(), left
}
