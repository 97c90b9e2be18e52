//go:build !race

package testbed

// RaceEnabled reports whether the race detector watches.
const RaceEnabled = false
