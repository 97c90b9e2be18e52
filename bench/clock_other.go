//go:build !linux

package bench

import "time"

// machineClock is the wall clock: nothing else is common to the processes here.
func machineClock() int64 { return time.Now().UnixNano() }
