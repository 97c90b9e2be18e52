package fairdriver

import (
	"container/heap"
	"runtime"
	"time"
)

// Some slots only remember a holder, or a token that is dead, and nothing else may ever look at them again. The sweep does,
// when there may be something to forget. Driver.mu protects it.
type sweep struct {
	heap  sweepHeap
	timer *time.Timer
	at    time.Time // when the timer fires; zero: it does not run
}

const (
	// sweepEvery is how long the sweep pauses at least, so that it finds several slots at once.
	sweepEvery = 2 * time.Second
	// sweepMost is how many slots are looked at in one go: others wait for the mutex meanwhile.
	sweepMost = 50
)

// remember has the slot looked at when what it remembers may be forgotten. The caller holds d.mu.
func (s *slot) remember(until, now time.Time) {
	if soonest := now.Add(time.Millisecond); until.Before(soonest) {
		until = soonest
	}
	w := &s.d.sweep
	switch {
	case s.nth == 0:
		s.lookAt = until
		heap.Push(&w.heap, s)
	case until.Before(s.lookAt): // a shorter lease has followed
		s.lookAt = until
		heap.Fix(&w.heap, s.nth-1)
	default: // it may be looked at too early, and is put back then
		return
	}
	w.arm(s.d, s.lookAt, now)
}

// arm has the sweep run at that time, or at the next time that it may.
func (w *sweep) arm(d *Driver, at, now time.Time) {
	if soonest := now.Add(sweepEvery); at.Before(soonest) {
		at = soonest
	}
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(at.Sub(now), d.sweepSlots)
	case w.at.IsZero() || at.Before(w.at):
		w.timer.Reset(at.Sub(now))
	default:
		return
	}
	w.at = at
}

func (w *sweep) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// sweepSlots looks at what is due, in portions.
func (d *Driver) sweepSlots() {
	for d.sweepSome() {
		runtime.Gosched() // who waits for the mutex comes first
	}
}

func (d *Driver) sweepSome() (more bool) {
	now := d.env.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &d.sweep
	for range sweepMost {
		switch {
		case len(w.heap) == 0 || d.closed:
			w.at = time.Time{}
			return false
		case w.heap[0].lookAt.After(now):
			w.at = time.Time{}
			w.arm(d, w.heap[0].lookAt, now)
			return false
		}
		heap.Pop(&w.heap).(*slot).look()
	}
	return true
}

// forgotten takes a slot that was thrown away out of the sweep.
func (w *sweep) forgotten(s *slot) {
	if s.nth > 0 {
		heap.Remove(&w.heap, s.nth-1)
	}
}

// A sweepHeap has the slots in the order in which they are to be looked at. Each knows its place, counted from 1.
type sweepHeap []*slot

func (h sweepHeap) Len() int           { return len(h) }
func (h sweepHeap) Less(i, j int) bool { return h[i].lookAt.Before(h[j].lookAt) }
func (h sweepHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].nth, h[j].nth = i+1, j+1 }
func (h *sweepHeap) Push(x any)        { s := x.(*slot); *h = append(*h, s); s.nth = len(*h) }
func (h *sweepHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	s.nth = 0
	return s
}
