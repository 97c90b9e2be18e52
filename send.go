package redigolock

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// This file is the one place that sends commands and judges what came back. What happens to an exchange:
//
//	ctx has ended, or the connection is broken already   nothing is sent; the error is definite
//	the reply comes                                      it decides, even if ctx ended in the same moment
//	no reply comes (deadline, cancellation, broken)      ErrUnknown, and the connection is dead: redigo closes its
//	                                                     socket, so that a late reply can never be read as the
//	                                                     answer to a later command

// A request is one command of a pipeline.
type request struct {
	cmd  string
	args []any
}

// do sends one command and returns its reply. An error reply comes back as [redis.Error], unwrapped; every other
// error is ready for the caller.
func do(ctx context.Context, c redis.Conn, verb, key, cmd string, args ...any) (any, error) {
	timeout, err := begin(ctx, c, verb, key)
	if err != nil {
		return nil, err
	}
	end := cutOnCancel(ctx, c)
	reply, err := doWithTimeout(inner(c), timeout, cmd, args)
	end()
	if err == nil {
		return reply, queued(verb, key, reply)
	}
	re, isReply := fault.Reply(err)
	switch {
	case !isReply:
		return nil, unanswered(ctx, c, verb, key, err)
	case fault.AtDoor(re):
		return nil, turnedAway(ctx, c, verb, key, re)
	}
	return reply, re
}

// pipeline sends all requests in one write and reads all their replies, one round trip. An error reply is an
// element of replies, as redis.Error. The replies that came before an error are there, too.
func pipeline(ctx context.Context, c redis.Conn, verb, key string, reqs []request, replies []any) error {
	timeout, err := begin(ctx, c, verb, key)
	if err != nil {
		return err
	}
	end := cutOnCancel(ctx, c)
	err = exchange(inner(c), timeout, reqs, replies)
	end()
	if re, ok := replies[0].(redis.Error); ok && fault.AtDoor(re) { // the other replies never come
		return turnedAway(ctx, c, verb, key, re)
	}
	if err != nil {
		return unanswered(ctx, c, verb, key, err)
	}
	return nil
}

func exchange(c redis.Conn, timeout time.Duration, reqs []request, replies []any) error {
	if m, ok := c.(*muxConn); ok {
		return m.exchange(timeout, reqs, replies)
	}
	start := time.Now()
	for i, r := range reqs {
		err := c.Send(r.cmd, r.args...)
		if err != nil && i == 0 && c.Err() == nil { // a write that fails breaks the connection
			return fmt.Errorf("%w: %w", errNoSend, err)
		}
		if err != nil {
			return err // a part may have left: the write buffer is shorter than the longest key
		}
	}
	if err := c.Flush(); err != nil {
		return err
	}
	for i := range reqs {
		left := timeout
		if timeout > 0 && i > 0 { // each reply has the whole timeout of redigo's, all together have this one
			left = max(timeout-time.Since(start), time.Microsecond)
		}
		reply, err := receive(c, left)
		if re, ok := fault.Reply(err); ok {
			reply, err = re, nil
		}
		if err != nil {
			return err
		}
		replies[i] = reply
	}
	return nil
}

// begin looks at ctx and at the connection, and returns how long the reply may take, 0 if nothing limits it but
// the connection's own read timeout.
func begin(ctx context.Context, c redis.Conn, verb, key string) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, fault.Failed(verb, key, fault.OfContext(ctx))
	}
	if err := c.Err(); err != nil {
		return 0, fault.NoConnection(ctx, verb, key, err) // never borrowed, or broken before: nothing is sent
	}
	deadline, ok := ctx.Deadline()
	b, isBound := c.(*boundConn)
	if isBound && !ok && b.fresh > 0 {
		timeout := b.fresh
		b.fresh, b.mux.lent = 0, b.deadline.Add(-timeout)
		return timeout, nil
	}
	if isBound && (!ok || b.deadline.Before(deadline)) {
		deadline, ok = b.deadline, true
	}
	if !ok {
		return 0, nil
	}
	if timeout := time.Until(deadline); timeout > 0 {
		return timeout, nil
	}
	return 0, fault.NoConnection(ctx, verb, key, errDeadline) // OpTimeout was used up by what came before
}

// errNoSend is in the error of a connection that takes no pipelines, such as RetryConn of mna/redisc.
var errNoSend = fmt.Errorf("%w: the connection takes no Send: use the one behind it, or SetNX, SetNXScript and Release", ErrUnsupported)

// doWithTimeout is c.DoWithTimeout where the connection has it. Without, the connection's own timeout must do.
func doWithTimeout(c redis.Conn, timeout time.Duration, cmd string, args []any) (reply any, err error) {
	over := false
	defer func() {
		if !over && readerPanics() {
			reply, err = nil, fmt.Errorf("%w: %v", errBadReply, recover())
		}
	}()
	reply, err = doInTime(c, timeout, cmd, args)
	over = true
	return reply, err
}

func doInTime(c redis.Conn, timeout time.Duration, cmd string, args []any) (any, error) {
	if timeout > 0 {
		reply, err := redis.DoWithTimeout(c, timeout, cmd, args...)
		if err != errNoTimeouts {
			return reply, err
		}
	}
	return c.Do(cmd, args...)
}

// receive is c.ReceiveWithTimeout where the connection has it.
func receive(c redis.Conn, timeout time.Duration) (reply any, err error) {
	over := false
	defer func() {
		if !over && readerPanics() {
			reply, err = nil, fmt.Errorf("%w: %v", errBadReply, recover())
		}
	}()
	reply, err = receiveInTime(c, timeout)
	over = true
	return reply, err
}

func receiveInTime(c redis.Conn, timeout time.Duration) (any, error) {
	if timeout > 0 {
		reply, err := redis.ReceiveWithTimeout(c, timeout)
		if err != errNoTimeouts {
			return reply, err
		}
	}
	return c.Receive()
}

// errNoTimeouts is redigo's unexported error for a connection without timeouts, given before anything is sent. A
// pooled connection seems to have timeouts, and finds out only when asked that the connection inside has none.
var _, errNoTimeouts = redis.ReceiveWithTimeout(struct{ redis.Conn }{}, 0)

// past is a context whose deadline has passed.
var past, _ = context.WithDeadline(context.Background(), time.Unix(1, 0))

// cutOnCancel cuts the connection's socket when ctx ends while a reply is awaited, which lets the reader return.
// The func that it returns must be called before the connection is used again.
//
// redigo's own way, DoContext, starts a goroutine and makes a channel for every command; and its goroutine still
// uses the connection after DoContext has returned, which is a data race with Close. ReceiveContext with a context
// that is past its deadline does one thing only: it closes the socket, under redigo's mutex. redigo does not promise
// that, so TestCutOnCancelDoesNotRace pins it. Measured by BenchmarkCancellable, one SET to a redis-server 7.0.15 by TCP
// over loopback: plain 25.6 µs and no allocation, this 30.1 µs and 5, DoContext 48.0 µs and 4. These are medians of 60
// interleaved rounds on a busy machine of 2 cores. Paired within a round, this took 0.69 × DoContext (quartiles 0.54 to
// 1.02) and 1.14 × plain (0.93 to 2.37: what it costs beside plain is less than the noise).
func cutOnCancel(ctx context.Context, c redis.Conn) (end func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	cc, ok := c.(redis.ConnWithContext)
	if !ok {
		return func() {}
	}
	m := muxConnOf(c)
	if m != nil {
		m.fickle = true
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		cut(cc)
	})
	return func() {
		if m != nil {
			m.fickle = false
		}
		if !stop() {
			<-done // else it would race with Close
		}
	}
}

// cut makes a redigo connection unusable at once: see cutOnCancel.
func cut(cc redis.ConnWithContext) { _, _ = cc.ReceiveContext(past) }

// errBadReply: a reply announced more than can be, and redigo's reader panicked, as at $9223372036854775807.
var errBadReply = errors.New("the reader of replies panicked")

// readerPanics reports, to a deferred func, whether what panics is redigo's own reader of replies. All else passes on: a
// panic in a connection of the user's, or in an argument's method.
func readerPanics() bool {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // from what called the deferred func: the panic
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return strings.HasPrefix(frame.Function, "github.com/gomodule/redigo/redis.(*conn).read")
		}
		if !more {
			return false
		}
	}
}

// unanswered is the error of a command that left without an answer.
func unanswered(ctx context.Context, c redis.Conn, verb, key string, err error) error {
	switch {
	case errors.Is(err, fault.NotSent), fault.CertificateRefused(err):
		return fault.NoConnection(ctx, verb, key, err)
	case errors.Is(err, errNoSend):
		return fault.Failed(verb, key, err)
	}
	cutLive(c) // a foreign connection that is not dead by itself: its reply is still due
	return fault.UnknownOutcome(ctx, verb, key, err)
}

// turnedAway is the error of an exchange with a server that did not let the connection in. It carried out nothing, and has
// closed the connection, which looks alive until it is read again.
func turnedAway(ctx context.Context, c redis.Conn, verb, key string, err redis.Error) error {
	cutLive(c)
	return fault.NoConnection(ctx, verb, key, err)
}

func cutLive(c redis.Conn) {
	if cc, ok := c.(redis.ConnWithContext); ok && c.Err() == nil {
		cut(cc)
	}
}

// queued refuses the answer of a connection that is inside MULTI: nothing is decided before EXEC, and a script's
// refusal does not stop EXEC.
func queued(verb, key string, reply any) error {
	if s, ok := reply.(string); ok && s == "QUEUED" {
		return fault.Of(ErrUnsupported, verb, key, "the connection is inside MULTI: DISCARD it")
	}
	return nil
}
