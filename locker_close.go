package redigolock

import "slices"

// Close ends the Locker: waiting acquires and KeepAlive contexts end with [ErrClosed], and later acquires get it. Locks
// that are held are left to expire, and Release of them still works. It waits for clean-ups in the background, for three
// OpTimeouts at most; and for one more each where renewals, the subscription or the clean-ups hang on a connection. It
// returns nil, also when called again.
func (l *Locker) Close() error {
	if l.state.closed.Swap(true) {
		return nil
	}
	closing := l.closingChan()
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
		l.closeFair(3 * l.opTimeout())
	}
	l.closeStrays(3 * l.opTimeout())
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
