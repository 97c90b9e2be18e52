package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Conn is one caller's view of the real connections.
type Conn struct {
	group  *Group
	err    error // it was closed, or a reply was lost: nothing more is sent
	pipe   *pipe // nil: Send was not used
	pooled bool  // its user closes it once, and may not look at it any more then

	mu      sync.Mutex // protects what follows: a context that ends gives up from another goroutine
	current *Call
	givenUp bool
}

// A pipe is what Send has gathered, and what Flush has brought.
type pipe struct {
	requests []wire.Request
	replies  []any
}

// Conn returns a connection, which one goroutine uses and closes in the end.
func (g *Group) Conn() *Conn { return &Conn{group: g} }

// PooledConn is Conn for a user who closes it exactly once, and then uses it no more, so that the next may have it.
func (g *Group) PooledConn() *Conn {
	c, _ := g.conns.Get().(*Conn)
	if c == nil {
		c = &Conn{group: g, pooled: true}
	}
	return c
}

// NoConn returns a connection that has been broken by err from the beginning.
func NoConn(err error) *Conn { return &Conn{err: err} }

var errConnClosed = errors.New("redigolock: mux: the connection was closed")

// Exchange carries out the requests; see [wire.Carrier].
func (c *Conn) Exchange(ctx context.Context, now, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	if now.IsZero() {
		now = time.Now()
	}
	var timeout time.Duration
	if !by.IsZero() {
		timeout = by.Sub(now)
	}
	kept := c.giveUpOnCancel(ctx)
	err := c.carry(now, timeout, ctx.Done() != nil, reqs, replies)
	kept()
	if err != nil {
		return wire.Result{Sent: !fault.NothingDone(err), Err: err}
	}
	return wire.Result{Answered: len(reqs)}
}

// giveUpOnCancel has what is under way be given up when ctx ends, until the func that it returns is called.
func (c *Conn) giveUpOnCancel(ctx context.Context) (end func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	return wire.OnCancel(ctx, func() {
		why := errLeft
		if ctx.Err() == context.DeadlineExceeded { // the timeout ends then, too, and may come first
			why = errLate
		}
		c.giveUp(why)
	})
}

// carry carries out the requests, and puts the reply to each into replies; an error reply is one of them. A fickle caller may
// give up at any time.
func (c *Conn) carry(start time.Time, timeout time.Duration, fickle bool, reqs []wire.Request, replies []any) error {
	if c.err != nil {
		return c.err
	}
	x := c.group.NewCall(start, timeout, fickle)
	for _, r := range reqs {
		if err := sharable(r.Cmd, x.Add(r.Cmd, r.Args)); err != nil {
			x.Recycle()
			return err
		}
	}
	c.mu.Lock()
	if c.givenUp {
		c.mu.Unlock()
		x.Recycle()
		return c.group.env.Busy
	}
	c.current = x
	c.mu.Unlock()
	defer c.free(x) // also when a func of the user's panics
	err := c.group.Do(x)
	if err == nil {
		copy(replies, x.Replies)
	} else if !errors.Is(err, fault.NotSent) {
		c.err = err
	}
	return err
}

func (c *Conn) free(x *Call) {
	c.mu.Lock() // a context that ends may just give it up
	c.current = nil
	c.mu.Unlock()
	x.Recycle()
}

func (c *Conn) Do(cmd string, args ...any) (any, error) { return c.DoWithTimeout(0, cmd, args...) }

func (c *Conn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	return c.do(timeout, false, cmd, args)
}

func (c *Conn) do(timeout time.Duration, fickle bool, cmd string, args []any) (any, error) {
	if cmd == "" || c.pipe != nil {
		return c.doAfterSend(timeout, fickle, cmd, args)
	}
	reqs := [1]wire.Request{{Cmd: cmd, Args: args}}
	var replies [1]any
	if err := c.carry(time.Now(), timeout, fickle, reqs[:], replies[:]); err != nil {
		return nil, err
	}
	if re, ok := replies[0].(redis.Error); ok {
		return replies[0], re
	}
	return replies[0], nil
}

// doAfterSend also receives all that is due; as redigo, it returns the last reply and the first error, or for no command
// all replies.
func (c *Conn) doAfterSend(timeout time.Duration, fickle bool, cmd string, args []any) (any, error) {
	if cmd == "" && (c.pipe == nil || len(c.pipe.requests)+len(c.pipe.replies) == 0) {
		return nil, c.err // as redigo, which does not even look at the connection
	}
	if cmd != "" {
		if err := c.Send(cmd, args...); err != nil {
			return nil, err
		}
	}
	if err := c.flush(timeout, fickle); err != nil {
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

func (c *Conn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	timeout, err := timeLeft(ctx)
	if err != nil {
		return nil, err
	}
	end := c.giveUpOnCancel(ctx)
	reply, err := c.do(timeout, ctx.Done() != nil, cmd, args)
	end()
	c.resume()
	return reply, endedBy(ctx, err)
}

// Send keeps a copy of the arguments, which the caller may change afterwards.
func (c *Conn) Send(cmd string, args ...any) error {
	if c.err != nil {
		return c.err
	}
	own := make([]any, len(args))
	for i, arg := range args {
		own[i] = copied(arg)
	}
	if err := sharable(cmd, own); err != nil {
		return err
	}
	if c.pipe == nil {
		c.pipe = &pipe{}
	}
	c.pipe.requests = append(c.pipe.requests, wire.Request{Cmd: cmd, Args: own})
	return nil
}

// Flush carries out what was sent, and waits for the replies, which Receive returns.
func (c *Conn) Flush() error { return c.flush(0, false) }

// FlushWithTimeout is Flush that takes no longer than timeout.
func (c *Conn) FlushWithTimeout(timeout time.Duration) error { return c.flush(timeout, false) }

func (c *Conn) flush(timeout time.Duration, fickle bool) error {
	if c.err != nil {
		return c.err
	}
	if c.pipe == nil || len(c.pipe.requests) == 0 {
		return nil
	}
	replies := make([]any, len(c.pipe.requests))
	err := c.carry(time.Now(), timeout, fickle, c.pipe.requests, replies)
	c.pipe.requests = nil
	if err == nil {
		c.pipe.replies = append(c.pipe.replies, replies...)
	}
	return err
}

func (c *Conn) Receive() (any, error) { return c.ReceiveWithTimeout(0) }

func (c *Conn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	return c.receive(timeout, false)
}

func (c *Conn) receive(timeout time.Duration, fickle bool) (any, error) {
	if err := c.flush(timeout, fickle); err != nil {
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

// ReceiveContext with a context that has ended gives up what is under way; it may be called from another goroutine then.
func (c *Conn) ReceiveContext(ctx context.Context) (any, error) {
	timeout, err := timeLeft(ctx)
	if err != nil {
		c.giveUp(errLeft)
		return nil, err
	}
	end := c.giveUpOnCancel(ctx)
	reply, err := c.receive(timeout, ctx.Done() != nil)
	end()
	c.resume()
	return reply, endedBy(ctx, err)
}

// resume is called when no context can give up any more: if no reply was lost, the connection stays usable.
func (c *Conn) resume() {
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
func (c *Conn) giveUp(why error) {
	c.mu.Lock()
	defer c.mu.Unlock() // until leave is over, or the call might be another's
	c.givenUp = true
	if c.current != nil {
		c.current.Leave(why)
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

func (c *Conn) Err() error { return c.err }

// Close carries out what was sent and not flushed, as a connection of redigo's pool does.
func (c *Conn) Close() error {
	if c.err != nil {
		c.reuse()
		return nil
	}
	err := c.flush(closeTimeout, false)
	c.err, c.pipe = errConnClosed, nil
	c.reuse()
	return err
}

// reuse gives a pooled connection to the next. No context can give it up any more: who waited for one has seen to that.
func (c *Conn) reuse() {
	if c.pooled {
		c.err, c.pipe, c.givenUp = nil, nil, false
		c.group.conns.Put(c)
	}
}

// closeTimeout bounds what Close carries out.
const closeTimeout = time.Second
