package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// exchange is Exchange on a connection of redigo's, or of another package that has its methods.
func exchange(ctx context.Context, c redis.Conn, now, by time.Time, reqs []Request, replies []any) Result {
	var timeout time.Duration
	if !by.IsZero() {
		timeout = by.Sub(now)
	}
	uncut := cutOnCancel(ctx, c)
	n, err := sendAndReceive(c, timeout, by, reqs, replies)
	uncut()
	switch {
	case err == nil:
		return Result{Answered: n}
	case errors.Is(err, fault.NotSent), errors.Is(err, errNoSend), fault.CertificateRefused(err):
		return Result{Answered: n, Err: err}
	}
	CutLive(c) // a foreign connection that is not dead by itself: its reply is still due
	return Result{Answered: n, Sent: true, Err: err}
}

// sendAndReceive returns how many replies have come.
func sendAndReceive(c redis.Conn, timeout time.Duration, by time.Time, reqs []Request, replies []any) (n int, err error) {
	if len(reqs) == 1 {
		if replies[0], err = reply(do(c, timeout, reqs[0].Cmd, reqs[0].Args)); err == nil {
			n = 1
		}
		return n, err
	}
	for i, r := range reqs {
		err := c.Send(r.Cmd, r.Args...)
		if err != nil && i == 0 && c.Err() == nil { // a write that fails breaks the connection
			return 0, fmt.Errorf("%w: %w", errNoSend, err)
		}
		if err != nil {
			return 0, err // a part may have left: the write buffer is shorter than the longest key
		}
	}
	if err := c.Flush(); err != nil {
		return 0, err
	}
	for i := range reqs {
		if timeout > 0 && i > 0 { // each reply has the whole timeout of redigo's, all together have this one
			timeout = max(time.Until(by), time.Microsecond)
		}
		if replies[i], err = reply(Receive(c, timeout)); err != nil {
			return i, err
		}
	}
	return len(reqs), nil
}

// errNoSend is in the error of a connection that takes no pipelines, such as RetryConn of mna/redisc.
var errNoSend = fmt.Errorf("%w: the connection takes no Send: use the one behind it, or SetNX, SetNXScript and Release", fault.Unsupported)

// do is c.DoWithTimeout where the connection has it. Without, the connection's own timeout must do.
func do(c redis.Conn, timeout time.Duration, cmd string, args []any) (any, error) {
	return guarded(false, func() (any, error) {
		if timeout > 0 {
			reply, err := redis.DoWithTimeout(c, timeout, cmd, args...)
			if err != errNoTimeouts {
				return reply, err
			}
		}
		return c.Do(cmd, args...)
	})
}

// Receive is c.ReceiveWithTimeout where the connection has it.
func Receive(c redis.Conn, timeout time.Duration) (any, error) {
	return guarded(false, func() (any, error) {
		if timeout > 0 {
			reply, err := redis.ReceiveWithTimeout(c, timeout)
			if err != errNoTimeouts {
				return reply, err
			}
		}
		return c.Receive()
	})
}

// reply has an error reply be a reply.
func reply(reply any, err error) (any, error) {
	if err == nil {
		return reply, nil
	}
	if re, ok := fault.Reply(err); ok {
		return re, nil
	}
	return nil, err
}

// errNoTimeouts is redigo's unexported error for a connection without timeouts, given before anything is sent. A
// pooled connection seems to have timeouts, and finds out only when asked that the connection inside has none.
var _, errNoTimeouts = redis.ReceiveWithTimeout(struct{ redis.Conn }{}, 0)

// NoTimeouts reports whether err says that a connection that seems to have timeouts has none.
func NoTimeouts(err error) bool { return err == errNoTimeouts }
