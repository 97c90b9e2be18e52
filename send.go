package redigolock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
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
	re, isReply := err.(redis.Error)
	switch {
	case err != nil && !isReply:
		return nil, unanswered(ctx, c, verb, key, err)
	case isReply && atDoor(re):
		return nil, turnedAway(ctx, c, verb, key, re)
	}
	return reply, queued(verb, key, reply, err)
}

// pipeline sends all requests in one write and reads all their replies, one round trip. An error reply is an
// element of replies, as redis.Error.
func pipeline(ctx context.Context, c redis.Conn, verb, key string, reqs []request, replies []any) error {
	timeout, err := begin(ctx, c, verb, key)
	if err != nil {
		return err
	}
	end := cutOnCancel(ctx, c)
	err = exchange(inner(c), timeout, reqs, replies)
	end()
	if re, ok := replies[0].(redis.Error); ok && atDoor(re) { // the other replies never come
		return turnedAway(ctx, c, verb, key, re)
	}
	if err != nil {
		return unanswered(ctx, c, verb, key, err)
	}
	return nil
}

// exchange leaves the replies that came before an error in replies.
func exchange(c redis.Conn, timeout time.Duration, reqs []request, replies []any) error {
	if m, ok := c.(*muxConn); ok {
		return m.exchange(timeout, reqs, replies)
	}
	start := time.Now()
	for _, r := range reqs {
		if err := c.Send(r.cmd, r.args...); err != nil {
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
		if re, ok := err.(redis.Error); ok {
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
		return 0, failed(verb, key, contextError(ctx))
	}
	if err := c.Err(); err != nil {
		return 0, noConnection(ctx, verb, key, err) // never borrowed, or broken before: nothing is sent
	}
	deadline, ok := ctx.Deadline()
	b, isBound := c.(*boundConn)
	if isBound && !ok && b.fresh > 0 {
		timeout := b.fresh
		b.fresh = 0
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
	return 0, noConnection(ctx, verb, key, errDeadline) // OpTimeout was used up by what came before
}

// doWithTimeout is c.DoWithTimeout where the connection has it. Without, the connection's own timeout must do.
func doWithTimeout(c redis.Conn, timeout time.Duration, cmd string, args []any) (any, error) {
	if timeout > 0 {
		reply, err := redis.DoWithTimeout(c, timeout, cmd, args...)
		if err != errNoTimeouts {
			return reply, err
		}
	}
	return c.Do(cmd, args...)
}

// receive is c.ReceiveWithTimeout where the connection has it.
func receive(c redis.Conn, timeout time.Duration) (any, error) {
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

// unanswered is the error of a command that left without an answer.
func unanswered(ctx context.Context, c redis.Conn, verb, key string, err error) error {
	if errors.Is(err, errNotSent) {
		return noConnection(ctx, verb, key, err)
	}
	cutLive(c) // a foreign connection that is not dead by itself: its reply is still due
	return unknownOutcome(ctx, verb, key, err)
}

// turnedAway is the error of an exchange with a server that did not let the connection in. It carried out nothing, and has
// closed the connection, which looks alive until it is read again.
func turnedAway(ctx context.Context, c redis.Conn, verb, key string, err redis.Error) error {
	cutLive(c)
	return noConnection(ctx, verb, key, err)
}

func cutLive(c redis.Conn) {
	if cc, ok := c.(redis.ConnWithContext); ok && c.Err() == nil {
		cut(cc)
	}
}

// unknownOutcome is the ErrUnknown of a command.
func unknownOutcome(ctx context.Context, verb, key string, err error) error {
	if ctxErr := ended(ctx); ctxErr != nil {
		return fmt.Errorf("%w: %s %s: %w (%w)", ErrUnknown, verb, quote(key), ctxErr, err)
	}
	return fmt.Errorf("%w: %s %s: %w", ErrUnknown, verb, quote(key), err)
}

// ended is contextError if ctx has ended or its deadline has passed, else nil. redigo's "i/o timeout" comes a moment
// before ctx ends by itself, so a passed deadline is given the moment that ctx needs to know its cause.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ctx.Err() == nil && ok && !time.Now().Before(deadline) {
		grace := time.NewTimer(100 * time.Millisecond)
		defer grace.Stop()
		select {
		case <-ctx.Done():
		case <-grace.C:
			return context.DeadlineExceeded
		}
	}
	if ctx.Err() == nil {
		return nil
	}
	return contextError(ctx)
}

// queued refuses the answer of a connection that is inside MULTI: nothing is decided before EXEC, and a script's
// refusal does not stop EXEC.
func queued(verb, key string, reply any, err error) error {
	if s, ok := reply.(string); err == nil && ok && s == "QUEUED" {
		return is(ErrUnsupported, verb, key, "the connection is inside MULTI: DISCARD it")
	}
	return err
}
