package redistest

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A FakeConn is what a connection in memory has in common with any other, for a redis.Conn that embeds it: it breaks once, from any
// goroutine, and whoever waits for a reply returns then. It lacks Do, DoWithTimeout, Send and Receive.
type FakeConn struct {
	broken chan struct{}

	mu  sync.Mutex // protects err
	err error
}

// NewFakeConn returns one that is not broken.
func NewFakeConn() *FakeConn { return &FakeConn{broken: make(chan struct{})} }

var errClosedFake = errors.New("redistest: the connection was closed")

// Break ends it with an error, unless it is broken.
func (c *FakeConn) Break(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.broken)
	}
}

// Close breaks it.
func (c *FakeConn) Close() error {
	c.Break(errClosedFake)
	return nil
}

// Err is why it is broken, nil if it is not.
func (c *FakeConn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Flush returns Err.
func (c *FakeConn) Flush() error { return c.Err() }

// Await returns what comes from replies. It breaks when nothing does within the timeout. Nil replies never come.
func (c *FakeConn) Await(timeout time.Duration, replies <-chan any) (any, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case reply := <-replies:
		return reply, nil
	case <-c.broken:
	case <-timer.C:
		c.Break(timeoutError{})
	}
	return nil, c.Err()
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// DoContext fails: the library does not use it.
func (c *FakeConn) DoContext(context.Context, string, ...any) (any, error) {
	return nil, errors.New("redistest: DoContext was called")
}

// ReceiveContext breaks it, as redigo does for a context that has ended. The library does not call it with another.
func (c *FakeConn) ReceiveContext(ctx context.Context) (any, error) {
	if ctx.Err() == nil {
		return nil, errors.New("redistest: ReceiveContext was called with a context that goes on")
	}
	c.Break(ctx.Err())
	return nil, c.Err()
}
