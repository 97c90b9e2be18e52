package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// newHistogram takes 1 ns to 1 hour with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Hour.Nanoseconds(), 3) }

// latencies collects what several goroutines measure. A histogram of its own for each of 128 goroutines would be 30 MB
// for a round of 30 ms, and a shared one would have them wait for each other: so each collects a few, and hands over.
type latencies struct {
	mu   sync.Mutex // protects hist
	hist *hdrhistogram.Histogram
}

const handOver = 1024

// A meter is the part of one goroutine.
type meter struct {
	all  *latencies
	some []int64
	n    int64
}

func (l *latencies) meter() *meter { return &meter{all: l, some: make([]int64, 0, handOver)} }

func (m *meter) record(d time.Duration) {
	m.some = append(m.some, d.Nanoseconds())
	m.n++
	if len(m.some) == handOver {
		m.flush()
	}
}

func (m *meter) flush() {
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	for _, ns := range m.some {
		record(m.all.hist, time.Duration(ns))
	}
	m.some = m.some[:0]
}

// record takes whatever there is: a clock that stands still gives 0, and an hour and more is an hour.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Nanoseconds(), 1), h.HighestTrackableValue()))
}
