package redigolock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/groupcommit"
)

// A muxConn is a connection of a Mux: one caller's view of the real ones.
type muxConn struct {
	mux  *Mux
	err  error    // it was closed, or a reply was lost: nothing more is sent
	pipe *muxPipe // nil: Send was not used

	lent time.Time // when the timeout of the next exchange began; zero: it begins now

	mu      sync.Mutex // protects what follows: a context that ends gives up from another goroutine
	current *groupcommit.Call
	givenUp bool

	fickle bool // what is under way may be given up at any time; its user's
}

// A muxPipe is what Send has gathered, and what Flush has brought.
type muxPipe struct {
	requests []request
	replies  []any
}

var errConnClosed = errors.New("redigolock: mux: the connection was closed")

// exchange carries out the requests, and puts the reply to each into replies; an error reply is one of them.
func (c *muxConn) exchange(timeout time.Duration, reqs []request, replies []any) error {
	if c.err != nil {
		return c.err
	}
	start := c.lent
	if c.lent = (time.Time{}); start.IsZero() {
		start = time.Now()
	}
	group := c.mux.engine()
	x := group.NewCall(start, timeout, c.fickle)
	for _, r := range reqs {
		if err := sharable(r.cmd, x.Add(r.cmd, r.args)); err != nil {
			x.Free()
			return err
		}
	}
	c.mu.Lock()
	if c.givenUp {
		c.mu.Unlock()
		x.Free()
		return errMuxBusy
	}
	c.current = x
	c.mu.Unlock()
	defer c.free(x) // also when a func of the user's panics
	err := group.Do(x)
	if err == nil {
		copy(replies, x.Replies)
	} else if !errors.Is(err, fault.NotSent) {
		c.err = err
	}
	return err
}

func (c *muxConn) free(x *groupcommit.Call) {
	c.mu.Lock() // a context that ends may just give it up
	c.current = nil
	c.mu.Unlock()
	x.Free()
}

func (c *muxConn) Do(cmd string, args ...any) (any, error) { return c.DoWithTimeout(0, cmd, args...) }

func (c *muxConn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	if cmd == "" || c.pipe != nil {
		return c.doAfterSend(timeout, cmd, args)
	}
	reqs := [1]request{{cmd, args}}
	var replies [1]any
	if err := c.exchange(timeout, reqs[:], replies[:]); err != nil {
		return nil, err
	}
	if re, ok := replies[0].(redis.Error); ok {
		return replies[0], re
	}
	return replies[0], nil
}

// doAfterSend also receives all that is due; as redigo, it returns the last reply and the first error, or for no command
// all replies.
func (c *muxConn) doAfterSend(timeout time.Duration, cmd string, args []any) (any, error) {
	if cmd == "" && (c.pipe == nil || len(c.pipe.requests)+len(c.pipe.replies) == 0) {
		return nil, c.err // as redigo, which does not even look at the connection
	}
	if cmd != "" {
		if err := c.Send(cmd, args...); err != nil {
			return nil, err
		}
	}
	if err := c.flush(timeout); err != nil {
		return nil, err
	}
	var replies []any
	if c.pipe != nil {
		replies = c.pipe.replies
		c.pipe.replies = nil
	}
	if cmd == "" {
		return replies, nil
	}
	for _, reply := range replies {
		if re, ok := reply.(redis.Error); ok {
			return replies[len(replies)-1], re
		}
	}
	return replies[len(replies)-1], nil
}

func (c *muxConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	timeout, err := timeLeft(ctx)
	if err != nil {
		return nil, err
	}
	end := cutOnCancel(ctx, c)
	reply, err := c.DoWithTimeout(timeout, cmd, args...)
	end()
	c.resume()
	return reply, endedBy(ctx, err)
}

// Send keeps a copy of the arguments, which the caller may change afterwards.
func (c *muxConn) Send(cmd string, args ...any) error {
	if c.err != nil {
		return c.err
	}
	args = slices.Clone(inText(args))
	if err := sharable(cmd, args); err != nil {
		return err
	}
	for i, arg := range args {
		if b, ok := arg.([]byte); ok {
			args[i] = bytes.Clone(b)
		}
	}
	if c.pipe == nil {
		c.pipe = &muxPipe{}
	}
	c.pipe.requests = append(c.pipe.requests, request{cmd, args})
	return nil
}

// Flush carries out what was sent, and waits for the replies, which Receive returns.
func (c *muxConn) Flush() error { return c.flush(0) }

func (c *muxConn) flush(timeout time.Duration) error {
	if c.err != nil {
		return c.err
	}
	if c.pipe == nil || len(c.pipe.requests) == 0 {
		return nil
	}
	replies := make([]any, len(c.pipe.requests))
	err := c.exchange(timeout, c.pipe.requests, replies)
	c.pipe.requests = nil
	if err == nil {
		c.pipe.replies = append(c.pipe.replies, replies...)
	}
	return err
}

func (c *muxConn) Receive() (any, error) { return c.ReceiveWithTimeout(0) }

func (c *muxConn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	if err := c.flush(timeout); err != nil {
		return nil, err
	}
	if c.pipe == nil || len(c.pipe.replies) == 0 {
		return nil, errors.New("redigolock: mux: Receive without Send")
	}
	reply := c.pipe.replies[0]
	c.pipe.replies = c.pipe.replies[1:]
	if re, ok := reply.(redis.Error); ok {
		return nil, re
	}
	return reply, nil
}

// ReceiveContext with a context that has ended gives up what is under way; cutOnCancel calls it from another goroutine.
func (c *muxConn) ReceiveContext(ctx context.Context) (any, error) {
	timeout, err := timeLeft(ctx)
	if err != nil {
		c.giveUp()
		return nil, err
	}
	end := cutOnCancel(ctx, c)
	reply, err := c.ReceiveWithTimeout(timeout)
	end()
	c.resume()
	return reply, endedBy(ctx, err)
}

// muxConnOf is c, or what a Locker has borrowed as c, if that is a Mux's; else nil.
func muxConnOf(c redis.Conn) *muxConn {
	if b, ok := c.(*boundConn); ok {
		c = b.Conn
	}
	m, _ := c.(*muxConn)
	return m
}

// resume is called when no context can give up any more: if no reply was lost, the connection stays usable.
func (c *muxConn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.givenUp = false
}

// endedBy adds to the error of a command without a reply that ctx has ended.
func endedBy(ctx context.Context, err error) error {
	if _, isReply := err.(redis.Error); err == nil || isReply {
		return err
	}
	if ctxErr := fault.Ended(ctx); ctxErr != nil {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	return err
}

// giveUp lets the caller go as soon as that is possible, and nothing more is sent.
func (c *muxConn) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock() // until leave is over, or the call might be another's
	c.givenUp = true
	if c.current != nil {
		c.current.Leave(errLeft)
	}
}

// timeLeft is how long ctx gives a reply; 0: no limit.
func timeLeft(ctx context.Context) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, fault.OfContext(ctx)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0, context.DeadlineExceeded
	}
	return left, nil
}

func (c *muxConn) Err() error { return c.err }

// Close carries out what was sent and not flushed, as a connection of redigo's pool does.
func (c *muxConn) Close() error {
	if c.err != nil {
		return nil
	}
	err := c.flush(DefaultOpTimeout)
	c.err, c.pipe = errConnClosed, nil
	return err
}

// inText makes text of arguments that only redigo's writer could make text of, so that this happens on the caller's
// goroutine: such an argument may have a method of the user's, which may panic.
func inText(args []any) []any {
	copied := false
	for i, arg := range args {
		switch arg.(type) {
		case string, []byte, int, int64, float64, bool, nil:
			continue
		}
		if !copied {
			args, copied = slices.Clone(args), true
		}
		if a, ok := arg.(redis.Argument); ok {
			arg = a.RedisArg()
		}
		switch arg.(type) {
		case string, []byte, int, int64, float64, bool, nil:
			args[i] = arg
		default:
			args[i] = fmt.Append(nil, arg)
		}
	}
	return args
}
