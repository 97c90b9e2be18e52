package redistest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A FakeConn is a connection in memory. It breaks once, from any goroutine, and whoever waits for a reply returns then.
type FakeConn struct {
	answer  func(cmd string, args []any) any
	replies chan any // to what was sent, and what comes unasked
	broken  chan struct{}

	mu  sync.Mutex // protects err
	err error
}

// NewFakeConn returns one that is not broken. answer is asked for the reply to each command: a redis.Error is an error reply, and
// [Hang] none.
func NewFakeConn(answer func(cmd string, args []any) any) *FakeConn {
	return &FakeConn{answer: answer, replies: make(chan any, 1000), broken: make(chan struct{})}
}

type hang struct{}

// Hang is the answer that never comes.
var Hang any = hang{}

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

// Push has something come unasked, as a message does.
func (c *FakeConn) Push(reply any) { c.replies <- reply }

// Send has the answer come.
func (c *FakeConn) Send(cmd string, args ...any) error {
	if err := c.Err(); err != nil {
		return err
	}
	if reply := c.answer(cmd, args); reply != Hang {
		c.Push(reply)
	}
	return nil
}

// Receive is ReceiveWithTimeout with an hour.
func (c *FakeConn) Receive() (any, error) { return c.ReceiveWithTimeout(time.Hour) }

// ReceiveWithTimeout returns what comes. It breaks the connection when nothing does within the timeout.
func (c *FakeConn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case reply := <-c.replies:
		return errorOf(reply)
	case <-c.broken:
	case <-timer.C:
		c.Break(timeoutError{})
	}
	return nil, c.Err()
}

// Do is DoWithTimeout with an hour.
func (c *FakeConn) Do(cmd string, args ...any) (any, error) {
	return c.DoWithTimeout(time.Hour, cmd, args...)
}

// DoWithTimeout returns the answer.
func (c *FakeConn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	if err := c.Err(); err != nil || cmd == "" {
		return nil, err
	}
	if reply := c.answer(cmd, args); reply != Hang {
		return errorOf(reply)
	}
	return c.ReceiveWithTimeout(timeout)
}

func errorOf(reply any) (any, error) {
	if re, ok := reply.(redis.Error); ok {
		return nil, re
	}
	return reply, nil
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
