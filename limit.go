package redigolock

import (
	"context"
	"time"
)

// A sharedLimit is a context that ends after d, for all that begin in the first eighth of d. A context of one's own
// for each wait for a connection would be four allocations.
type sharedLimit struct {
	ctx    context.Context
	cancel context.CancelFunc // only its timer ends it: others may wait under it
	d      time.Duration
	fresh  time.Time // from then on, a new one is made
}

// limit returns a context that ends with ctx, and at the latest after d.
func (l *Locker) limit(ctx context.Context, now time.Time, d time.Duration) (context.Context, context.CancelFunc) {
	if !l.source().waits() {
		return ctx, func() {}
	}
	if ctx != context.Background() {
		return context.WithTimeout(ctx, d)
	}
	slot := &l.state.limits[0]
	if d == l.opTimeout() {
		slot = &l.state.limits[1]
	}
	s := slot.Load()
	if s == nil || s.d != d || !now.Before(s.fresh) {
		s = &sharedLimit{d: d, fresh: now.Add(d / 8)}
		s.ctx, s.cancel = context.WithTimeout(ctx, d)
		slot.Store(s)
	}
	return s.ctx, func() {}
}
