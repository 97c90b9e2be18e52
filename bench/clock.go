package bench

import (
	"math"
	"time"
)

// A sharedClock gives stamps in ns that the processes of one machine can compare. Where the machine's clock costs a
// system call, as on Linux, it is read once, and Go's own, which is the same one from another beginning, ever after.
type sharedClock struct {
	base   time.Time
	offset int64
}

func newSharedClock() sharedClock {
	c := sharedClock{base: time.Now()}
	least := time.Duration(math.MaxInt64)
	for range 100 { // the narrowest of these is narrower than any hand-off
		before := time.Since(c.base)
		at := machineClock()
		width := time.Since(c.base) - before
		if width < least {
			least, c.offset = width, at-int64(before+width/2)
		}
	}
	return c
}

func (c sharedClock) now() int64 { return int64(time.Since(c.base)) + c.offset }
