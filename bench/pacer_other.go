//go:build !linux

package bench

import "time"

// A pacer lets one goroutine wait for moments. The runtime's timers, which it has here, may be up to 1 ms late in a
// process that is otherwise idle.
type pacer struct{ stopped chan struct{} }

func newPacer() (*pacer, error) { return &pacer{make(chan struct{})}, nil }

// until returns at that time, or at once after stop.
func (p *pacer) until(t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.stopped:
	}
	return nil
}

// stop ends the waiting, and the pacer.
func (p *pacer) stop() { close(p.stopped) }
