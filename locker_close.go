package redigolock

import (
	"sync"
	"time"
)

// Close ends the Locker: waiting acquires and KeepAlive contexts end with [ErrClosed], and later acquires get it. Locks
// that are held are left to expire, and Release of them still works. It waits for clean-ups in the background, and for dials
// that were left because they took too long, for three OpTimeouts at most; and for one more each where renewals, the
// subscription or the clean-ups hang on a connection. It returns nil, also when called again.
func (l *Locker) Close() error { return l.core.close() }

func (c *core) close() error {
	if c.closed.Swap(true) {
		return nil
	}
	close(c.closingChan())
	if !c.hasBegun() {
		return nil
	}
	begin, most := time.Now(), 3*c.opTimeout()
	for _, x := range c.renewer().Close() {
		keeperOf(x).end(ErrClosed)
	}
	c.renewer().AwaitEnd(c.opTimeout())
	c.by.close(most)
	c.cleaner().Close(most)
	waitFor(most-time.Since(begin), c.home.source.close()...)
	return nil
}

// A closing is told to those who wait.
type closing struct {
	once sync.Once // for ch
	ch   chan struct{}
}

// closingChan is closed by Close.
func (c *core) closingChan() chan struct{} {
	x := &c.closing
	x.once.Do(func() { x.ch = make(chan struct{}) })
	return x.ch
}
