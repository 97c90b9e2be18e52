package bench

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A keepMeter collects what the renewals tell.
type keepMeter struct {
	mu      sync.Mutex // protects what follows
	ops     int64
	late    *hdrhistogram.Histogram
	spare   *hdrhistogram.Histogram // allocated before memory is looked at
	lost    int
	lostErr error // of the first

	failed chan struct{} // closed with the first loss
}

func newKeepMeter() *keepMeter {
	return &keepMeter{late: newHistogram(), spare: newHistogram(), failed: make(chan struct{})}
}

func (m *keepMeter) renewed(late time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ops++
	record(m.late, late)
}

func (m *keepMeter) lose(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost++; m.lost == 1 {
		m.lostErr = err
		close(m.failed)
	}
}

// take returns what was collected since the last time.
func (m *keepMeter) take() (int64, *hdrhistogram.Histogram) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ops, late := m.ops, m.late
	m.spare.Reset()
	m.ops, m.late, m.spare = 0, m.spare, late
	return ops, late
}

func (m *keepMeter) loss(locks int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost == 0 {
		return nil
	}
	return fmt.Errorf("bench: %d of %d locks were lost, no figures; the first was %w", m.lost, locks, m.lostErr)
}
