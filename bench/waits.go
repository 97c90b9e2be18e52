package bench

import (
	"slices"
	"time"
)

// waits are how long waiters have waited, and, of those who still waited when the time was up, how long until then.
type waits struct {
	ended, still []time.Duration
}

func (w *waits) add(wait time.Duration, still bool) {
	if still {
		w.still = append(w.still, wait)
	} else {
		w.ended = append(w.ended, wait)
	}
}

// longest is the longest wait; if it is that of one who still waited, censored is true, and it is a lower bound.
func (w *waits) longest() (wait time.Duration, censored bool) {
	ended, still := slices.Max(append(w.ended, 0)), slices.Max(append(w.still, 0))
	return max(ended, still), still > ended
}

// longerThan is the wait that all but a share of the waits do not exceed, estimated as Kaplan and Meier do (Nonparametric
// Estimation from Incomplete Observations, 1958): a wait that had not ended is known to be longer than what it had come
// to, and counts until there. left is the share of the waits that is longer than it; if that is more than share, nothing
// more is known, and the wait is the longest seen, a lower bound.
func (w *waits) longerThan(share float64) (wait time.Duration, left float64) {
	slices.Sort(w.ended)
	slices.Sort(w.still)
	left = 1
	censored := 0 // before the wait that is looked at
	for i, wait := range w.ended {
		for censored < len(w.still) && w.still[censored] < wait {
			censored++
		}
		among := len(w.ended) - i + len(w.still) - censored
		left *= 1 - 1/float64(among)
		if left <= share*(1+1e-9) { // what was multiplied is rounded
			return wait, left
		}
	}
	wait, _ = w.longest()
	return wait, left
}
