package redigolock

import (
	"slices"
	"time"
)

// Close ends the Locker: waiting acquires and KeepAlive contexts end with [ErrClosed], and later acquires get it. Locks
// that are held are left to expire, and Release of them still works. It waits for clean-ups in the background, and for dials
// that were left because they took too long, for three OpTimeouts at most; and for one more each where renewals, the
// subscription or the clean-ups hang on a connection. It returns nil, also when called again.
func (l *Locker) Close() error {
	if l.state.closed.Swap(true) {
		return nil
	}
	closing, most := l.closingChan(), 3*l.opTimeout()
	begin := time.Now()
	l.state.mu.Lock()
	close(closing)
	kept := slices.Clone(l.state.renewer.loss)
	sent := l.state.renewer.sent
	l.state.mu.Unlock()
	for _, kp := range kept {
		kp.k.endKeeping(ErrClosed)
	}
	if sent != nil {
		waitFor(l.opTimeout(), sent)
	}
	if l.Fair {
		l.closeFair(most)
	}
	l.closeStrays(most)
	if src := l.source(); src != nil {
		waitFor(most-time.Since(begin), src.close()...)
	}
	return nil
}

func (l *Locker) closingChan() chan struct{} {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.state.closing == nil {
		l.state.closing = make(chan struct{})
	}
	return l.state.closing
}
