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

// A latencyPart is the part of one goroutine.
type latencyPart struct {
	all  *latencies
	some []int64
	n    int64
}

func (l *latencies) part() *latencyPart {
	return &latencyPart{all: l, some: make([]int64, 0, handOver)}
}

func (p *latencyPart) record(d time.Duration) {
	p.some = append(p.some, d.Nanoseconds())
	p.n++
	if len(p.some) == handOver {
		p.flush()
	}
}

func (p *latencyPart) flush() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	for _, ns := range p.some {
		record(p.all.hist, time.Duration(ns))
	}
	p.some = p.some[:0]
}

// record takes whatever there is: a clock that stands still gives 0, and an hour and more is an hour.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Nanoseconds(), 1), h.HighestTrackableValue()))
}
