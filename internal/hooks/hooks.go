// Package hooks is where chance, the time, and the order of what comes at one moment come into the library, so that a simulation can
// choose them. It is a leaf: the root package and its engines ask it, and nothing else of the library is random. A simulation sets the
// variables before anything is used; the code then takes no other path than without.
package hooks

import (
	crypto "crypto/rand"
	"math/rand/v2"
	"runtime"
	"time"
)

// N returns a random duration from zero to less than n, which is positive: for jitter, not for secrets.
var N = func(n time.Duration) time.Duration { return rand.N(n) }

// Now is the clock of a Locker of this owner, by which it tells whether its locks are valid. What only bounds a wait, and what is compared
// with deadlines of contexts and connections, reads the time itself.
var Now = func(owner string) time.Time { return time.Now() }

// Secret fills p with what nobody can guess. It is the nth time, from 1, for a Locker of this owner.
var Secret = func(owner string, nth int, p []byte) { _, _ = crypto.Read(p) } // never fails: it ends the process

// Turn is called by each goroutine that is about to send something for a key, before it takes a connection or stands in a line for one.
// The token tells it from others that do the same for that key, and the place from those that do so for that token at other servers;
// both may be empty. A simulation lets those that come at one moment go on one after the other, which else the runtime would.
var Turn = func(verb, key, token, place string) {}

// Yield lets goroutines that can run do so first. A simulation lets all of them.
var Yield = runtime.Gosched
