package bench

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A holding is who of this process has a lock, counted from 1; 0: nobody. It finds at once what the figures would show
// in the end at best: two holders.
type holding struct{ owner atomic.Int64 }

// begin is called when the lock was acquired. who is what i counts, "waiter".
func (h *holding) begin(who string, i int) error {
	id := int64(i) + 1
	if !h.owner.CompareAndSwap(0, id) {
		return fmt.Errorf("bench: MUTUAL EXCLUSION VIOLATED: %s %d got the lock that %s %d holds, no figures",
			who, id, who, h.owner.Load())
	}
	return nil
}

// end must be called before the release is sent: the next holder may be there before its answer.
func (h *holding) end(who string, i int) error {
	id := int64(i) + 1
	if !h.owner.CompareAndSwap(id, 0) {
		return fmt.Errorf("bench: MUTUAL EXCLUSION VIOLATED: %s %d found %s %d in its lock, no figures",
			who, id, who, h.owner.Load())
	}
	return nil
}

// holdFor lets the time of a hold pass, unless over is closed.
func holdFor(d time.Duration, over <-chan struct{}) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over:
	}
}
