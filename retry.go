package redigolock

import (
	"math"
	"reflect"
	"time"

	"github.com/redigolock/redigolock/internal/hooks"
)

// A RetryFunc says how long a waiting acquire pauses before it tries again. attempt counts the tries that failed, from 1,
// also those that took the answer of another waiter of the Locker; but not when it was called during its pause, because the
// lock was released.
// heldFor is what is left of the holder's TTL, 0 if not known. A negative pause ends the acquire with the error of its last
// try. It keeps no state and is safe for concurrent use: a shared, counting strategy would be used up for ever.
type RetryFunc func(attempt int, heldFor time.Duration) time.Duration

const (
	leastPause = time.Millisecond
	mostPause  = 250 * time.Millisecond
)

// DefaultRetry is Backoff(1 ms, 250 ms). It never ends an acquire.
func DefaultRetry(attempt int, heldFor time.Duration) time.Duration {
	return backOff(leastPause, mostPause, attempt, heldFor)
}

// Backoff returns a RetryFunc that doubles its pause from min up to max, each time with a random part: a pause is between
// a half and the whole of min, 2 min, 4 min… up to max, and at least min. A pause ends soon after the holder's TTL, even
// if it is shorter than min then: after up to a tenth of the whole pause, 25 ms at most. A min below 1 ms counts as
// 1 ms, and a max below min as min.
//
//go:noinline
func Backoff(min, max time.Duration) RetryFunc {
	if min < leastPause {
		min = leastPause
	}
	if max < min {
		max = min
	}
	return func(attempt int, heldFor time.Duration) time.Duration { return backOff(min, max, attempt, heldFor) }
}

func backOff(least, most time.Duration, attempt int, heldFor time.Duration) time.Duration {
	whole := most
	if doublings := max(attempt, 1) - 1; least <= most>>doublings { // a shift by more than 63 gives 0
		whole = least << doublings
	}
	pause := max(whole/2+hooks.N(whole/2+1), least)
	if heldFor > 0 && heldFor < pause { // all waiters know that time: they must not all come at once
		pause = min(pause, heldFor+hooks.N(min(whole, mostPause)/10+1))
	}
	return max(pause, leastPause)
}

// Every returns a RetryFunc that pauses for d, 10 % more or less by chance, and for at least 1 ms, however long the
// holder's TTL is.
//
//go:noinline
func Every(d time.Duration) RetryFunc {
	d = min(max(d, leastPause), math.MaxInt64/2) // the sum must not overflow
	return func(int, time.Duration) time.Duration {
		return max(d-d/10+hooks.N(d/5+1), leastPause)
	}
}

// Tries returns a RetryFunc that ends an acquire after n tries in all, and pauses between them as r says. The acquire then
// returns the error of its last try, as [ErrHeld], and not that of a context. An n below 1 is one try. A nil r is
// [DefaultRetry].
func Tries(n int, r RetryFunc) RetryFunc {
	if r == nil {
		r = DefaultRetry
	}
	if isOwn(r) {
		return ownTries(n, r)
	}
	return func(attempt int, heldFor time.Duration) time.Duration { return tries(n, r, attempt, heldFor) }
}

//go:noinline
func ownTries(n int, r RetryFunc) RetryFunc {
	return func(attempt int, heldFor time.Duration) time.Duration { return tries(n, r, attempt, heldFor) }
}

func tries(n int, r RetryFunc, attempt int, heldFor time.Duration) time.Duration {
	if attempt >= n {
		return -1
	}
	return r(attempt, heldFor)
}

// isOwn reports whether r is a strategy of this package. Such a one neither panics nor blocks, so others may call it for a
// waiter that sleeps; a func of the user's is called on its caller's goroutine. The functions that make them are not inlined:
// the copy of a strategy in its caller's package would count as the user's.
func isOwn(r RetryFunc) bool {
	code := reflect.ValueOf(r).Pointer()
	for _, own := range ownCode {
		if code == own {
			return true
		}
	}
	return false
}

var ownCode = [...]uintptr{
	reflect.ValueOf(DefaultRetry).Pointer(),
	reflect.ValueOf(Backoff(0, 0)).Pointer(),
	reflect.ValueOf(Every(0)).Pointer(),
	reflect.ValueOf(ownTries(0, nil)).Pointer(),
}
