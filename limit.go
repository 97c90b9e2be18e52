package redigolock

import (
	"context"
	"time"
)

// A sharedLimit is a context that ends at OpTimeout, for all that begin in the first 16th of it. A context for each wait for
// a connection would be four allocations. Who has waited until it ended, and has a moment left, waits for that under a
// context of its own.
type sharedLimit struct {
	ctx    context.Context
	cancel context.CancelFunc // only its timer ends it: others may wait under it
	fresh  time.Time          // from then on, a new one is made
}

// limit returns a context that ends with ctx, and at the latest when by comes.
func (l *Locker) limit(ctx context.Context, now, by time.Time) (context.Context, context.CancelFunc) {
	s, d := l.source(), by.Sub(now)
	switch {
	case s.mux != nil:
		return ctx, func() {}
	case ctx != context.Background(), d != l.opTimeout():
		return context.WithTimeout(ctx, d)
	}
	shared := l.state.limit.Load()
	if shared == nil || !now.Before(shared.fresh) {
		shared = &sharedLimit{fresh: now.Add(d / 16)}
		shared.ctx, shared.cancel = context.WithTimeout(ctx, d)
		l.state.limit.Store(shared)
	}
	return shared.ctx, func() {}
}
