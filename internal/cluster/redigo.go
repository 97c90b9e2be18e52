package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// What follows has the connection look like one of redigo's.

// Send keeps a command for the exchange.
func (x *Conn) Send(cmd string, args ...any) error {
	if err := x.Err(); err != nil {
		return err
	}
	if kindOf(cmd) == subscribe && !x.raw {
		if err := x.subscribe(cmd, args); err != nil {
			return err
		}
	}
	if x.raw {
		return x.conn.Send(cmd, args...)
	}
	x.sent = append(x.sent, wire.Request{Cmd: cmd, Args: slices.Clone(args)})
	return nil
}

// subscribe turns the connection to one of redigo's, to the node of the first channel.
func (x *Conn) subscribe(cmd string, args []any) error {
	if len(x.sent)+len(x.replies) > 0 {
		return fmt.Errorf("%w: cluster: %s behind commands that were not answered", fault.Unsupported, cmd)
	}
	slot, err := x.slotOf([]wire.Request{{Cmd: cmd, Args: args}})
	if err == nil {
		err = x.reach(context.Background(), slot)
	}
	x.raw = err == nil
	return err
}

// Flush carries out what was sent.
func (x *Conn) Flush() error { return x.FlushWithTimeout(0) }

// FlushWithTimeout is Flush, which takes as long as an exchange does.
func (x *Conn) FlushWithTimeout(timeout time.Duration) error {
	switch {
	case x.raw:
		return x.conn.Flush()
	case len(x.sent) == 0:
		return x.Err()
	}
	return x.flush(context.Background(), timeout)
}

func (x *Conn) flush(ctx context.Context, timeout time.Duration) error {
	if err := x.Err(); err != nil {
		return err
	}
	reqs := x.sent
	x.sent = nil
	replies := make([]any, len(reqs))
	now, by := time.Time{}, time.Time{}
	if timeout > 0 {
		now = time.Now()
		by = now.Add(timeout)
	}
	res := x.Exchange(ctx, now, by, reqs, replies)
	x.replies = append(x.replies, replies[:res.Answered]...)
	if res.Err != nil && res.Sent {
		x.breaks(res.Err)
	}
	return res.Err
}

// Receive returns the reply to the oldest of what was sent.
func (x *Conn) Receive() (any, error) { return x.receive(context.Background(), 0) }

// ReceiveWithTimeout is Receive.
func (x *Conn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	if x.raw {
		return redis.ReceiveWithTimeout(x.conn, timeout)
	}
	return x.receive(context.Background(), timeout)
}

// ReceiveContext is Receive that ends with ctx. If ctx has ended before, it cuts what is under way, also on another goroutine.
func (x *Conn) ReceiveContext(ctx context.Context) (any, error) {
	if err := ctx.Err(); err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.err == nil {
			x.err = err
		}
		if x.conn != nil {
			wire.Cut(x.conn)
		}
		return nil, err
	}
	if x.raw {
		return redis.ReceiveContext(x.conn, ctx)
	}
	return x.receive(ctx, 0)
}

func (x *Conn) receive(ctx context.Context, timeout time.Duration) (any, error) {
	if x.raw {
		return x.conn.Receive()
	}
	if len(x.replies) == 0 && len(x.sent) > 0 {
		if err := x.flush(ctx, timeout); err != nil && len(x.replies) == 0 {
			return nil, err
		}
	}
	if len(x.replies) == 0 {
		if err := x.Err(); err != nil {
			return nil, err
		}
		return nil, errNothing
	}
	reply := x.replies[0]
	x.replies = x.replies[1:]
	if re, ok := reply.(redis.Error); ok {
		return nil, re
	}
	return reply, nil
}

// Do carries out what was sent and the command, and returns the reply to that. An error of what was sent comes back, too. Without a
// command it returns all replies.
func (x *Conn) Do(cmd string, args ...any) (any, error) {
	return x.do(context.Background(), 0, cmd, args)
}

// DoWithTimeout is Do.
func (x *Conn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	return x.do(context.Background(), timeout, cmd, args)
}

// DoContext is Do that ends with ctx.
func (x *Conn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	reply, err := x.do(ctx, 0, cmd, args)
	if err != nil && ctx.Err() != nil {
		if _, isReply := err.(redis.Error); !isReply {
			err = ctx.Err()
		}
	}
	return reply, err
}

func (x *Conn) do(ctx context.Context, timeout time.Duration, cmd string, args []any) (any, error) {
	if err := x.Err(); err != nil {
		return nil, err
	}
	if kindOf(cmd) == subscribe && !x.raw {
		if err := x.subscribe(cmd, args); err != nil {
			return nil, err
		}
	}
	if x.raw {
		return x.conn.Do(cmd, args...)
	}
	if cmd != "" {
		x.sent = append(x.sent, wire.Request{Cmd: cmd, Args: args})
	}
	if len(x.sent) > 0 {
		if err := x.flush(ctx, timeout); err != nil {
			return nil, err
		}
	}
	replies := x.replies
	x.replies = nil
	if cmd == "" {
		return replies, nil
	}
	var err error
	for _, reply := range replies {
		if re, ok := reply.(redis.Error); ok && err == nil {
			err = re
		}
	}
	return replies[len(replies)-1], err
}
