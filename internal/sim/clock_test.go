package sim_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// A hostClock is that of a process whose host is suspended: the wall clock goes on, and the monotonic one stands still. That of any
// other process is the bubble's, which has no monotonic part. All that the Locker's now asks for comes from here (hooks_test.go).
type hostClock struct {
	mu     sync.Mutex    // protects what follows
	used   bool          // the host will be suspended
	behind time.Duration // of the monotonic clock
	asleep time.Time     // since then; zero: it is awake
	looks  int           // since then
}

// hostClocks finds the clock of a Locker whose host will be suspended by its Owner, which no Locker of another world has that runs at
// the same time.
var hostClocks sync.Map

func newHostClock(p plan, process int) *hostClock {
	c := &hostClock{}
	for _, f := range p.faults {
		c.used = c.used || f.kind == "suspension" && f.proc == process
	}
	return c
}

// ownerOf is the Owner of a process's nth Locker.
func (c *hostClock) ownerOf(p plan, process string, nth int) string {
	owner := fmt.Sprintf("%s.%d", process, nth)
	if c.used {
		owner = fmt.Sprintf("%s-%s-%d", owner, p.mode, p.seed)
		hostClocks.Store(owner, c)
	}
	return owner
}

func (c *hostClock) isNotOf(owner string) { hostClocks.Delete(owner) }

// hostTime is the time for a Locker.
func hostTime(owner string) time.Time {
	if c, ok := hostClocks.Load(owner); ok {
		return c.(*hostClock).now()
	}
	return time.Now()
}

func (c *hostClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	behind := c.behind
	if !c.asleep.IsZero() { // goroutines cannot be stopped; so that none loops for ever, each look takes a moment
		c.looks++
		behind += max(now.Sub(c.asleep)-c.looked(), 0)
	}
	return withMonotonic(now, behind)
}

// looked is how far the clock has gone on while it was asleep: a microsecond for each look, and a millisecond for each of those who look
// again and again. The caller holds mu.
func (c *hostClock) looked() time.Duration {
	first := min(c.looks, 1000)
	return time.Duration(first)*time.Microsecond + time.Duration(c.looks-first)*time.Millisecond
}

// suspend has the monotonic clock stand still until the func is called that it returns.
func (c *hostClock) suspend() (resume func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asleep.IsZero() {
		return func() {}
	}
	c.asleep, c.looks = time.Now(), 0
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.behind += max(time.Since(c.asleep)-c.looked(), 0)
		c.asleep = time.Time{}
	}
}

// start has both readings; it was not made in a bubble.
var start = time.Now()

// withMonotonic is a time whose monotonic reading is behind its wall clock. The time package has no way to make one: it is done on
// the representation of time.Time, and TestHostClock checks it.
func withMonotonic(t time.Time, behind time.Duration) time.Time {
	both := start.Add(t.Sub(start.Round(0)))
	(*struct {
		_   uint64
		ext int64
	})(unsafe.Pointer(&both)).ext -= int64(behind)
	return both
}

func TestHostClock(t *testing.T) {
	wall := time.Date(2000, 1, 1, 0, 0, 1, 500, time.UTC)
	a, b := withMonotonic(wall, 0), withMonotonic(wall.Add(time.Minute), 50*time.Second)
	if d := b.Sub(a); d != 10*time.Second {
		t.Errorf("%v passed by the monotonic clock, want 10s", d)
	}
	if d := b.Round(0).Sub(a.Round(0)); d != time.Minute || !a.Round(0).Equal(wall) {
		t.Errorf("%v passed by the wall clock, want 1m0s; it was %v at first", d, a.Round(0))
	}
}
