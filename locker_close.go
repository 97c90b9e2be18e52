package redigolock

import (
	"sync"
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
	close(l.closingChan())
	begin, most := time.Now(), 3*l.opTimeout()
	for _, x := range l.renewer().Close() {
		keeperOf(x).end(ErrClosed)
	}
	l.renewer().AwaitEnd(l.opTimeout())
	if l.Fair {
		l.closeFair(most)
	}
	l.closeStrays(most)
	if src := l.source(); src != nil {
		waitFor(most-time.Since(begin), src.close()...)
	}
	return nil
}

// A closing is told to those who wait.
type closing struct {
	once sync.Once // for ch
	ch   chan struct{}
}

// closingChan is closed by Close.
func (l *Locker) closingChan() chan struct{} {
	c := &l.state.closing
	c.once.Do(func() { c.ch = make(chan struct{}) })
	return c.ch
}
