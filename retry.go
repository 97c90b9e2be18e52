package redigolock

import (
	"math/rand/v2"
	"time"
)

// A RetryFunc says how long a waiting acquire pauses before it tries again. attempt counts the tries that failed, from 1.
// heldFor is what is left of the holder's TTL, 0 if not known. A negative pause ends the acquire with the error of its last
// try. It keeps no state and is safe for concurrent use: a shared, counting strategy would be used up for ever.
type RetryFunc func(attempt int, heldFor time.Duration) time.Duration

const (
	leastPause = time.Millisecond
	mostPause  = 250 * time.Millisecond
)

// DefaultRetry pauses for a random time between a half and the whole of 1 ms, 2 ms, 4 ms… up to 250 ms, but not far
// beyond the end of the holder's lease: then for what is left of it and up to a tenth of that pause. It never
// pauses for less than 1 ms, and never ends an acquire.
func DefaultRetry(attempt int, heldFor time.Duration) time.Duration {
	most := mostPause
	if attempt < 9 {
		most = min(leastPause<<max(attempt-1, 0), mostPause)
	}
	pause := most/2 + rand.N(most/2+1)
	if heldFor > 0 {
		pause = min(pause, heldFor+rand.N(most/10+1))
	}
	return max(pause, leastPause)
}
