package redigolock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A boundConn is a borrowed connection with the time by which its exchange must be over, so that an AcquireFunc or
// ReleaseFunc of the user's is bounded as well, and with the boxed arguments that a lock's commands share.
type boundConn struct {
	redis.Conn
	deadline   time.Time     // of the exchange
	rest       time.Duration // of the operation's OpTimeout, after deadline: for another exchange
	fresh      time.Duration // until deadline, as just measured, for the first command; 0: look at the clock
	sent       bool          // something was written: without an answer the outcome is unknown
	forgets    bool          // the connection does not keep the arguments that it is given, as a tracer may: they are used again
	taken      int8          // so many of args have been given to one that may
	key, token any           // boxed once: each boxed string is an allocation
	ttl        *boxedTTL     // nil: none
	args       [6]any        // those of an acquire, and then of a release
	mux        muxConn       // what Conn is where the pool is a Mux
}

// Format shows nothing of the lock: an AcquireFunc may log its connection.
func (b *boundConn) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "a connection of a Locker") }

// inner returns the connection that carries the commands of send.go. They have looked at b.deadline already.
func inner(c redis.Conn) redis.Conn {
	b, ok := c.(*boundConn)
	if !ok {
		return c
	}
	b.sent = true
	return b.Conn
}

// until begins an exchange, which takes most, at the most, of an operation that ends at by.
func (b *boundConn) until(now, by time.Time, most time.Duration) {
	b.deadline, b.fresh, b.rest = by, by.Sub(now), 0
	if most < b.fresh {
		b.deadline, b.fresh, b.rest = now.Add(most), most, b.fresh-most
	}
}

// end is when the operation ends.
func (b *boundConn) end() time.Time { return b.deadline.Add(b.rest) }

// notLent reports whether the pool has lent no connection, though the server has not refused one: a pool that was closed, or
// is exhausted.
func (b *boundConn) notLent(err error) bool {
	var re redis.Error
	return b.Conn == nil && !errors.As(err, &re)
}

var errDeadline = fmt.Errorf("no time left before the operation's timeout: %w", os.ErrDeadlineExceeded)

func (b *boundConn) left(timeout time.Duration) (time.Duration, error) {
	left := time.Until(b.deadline)
	if left <= 0 {
		return 0, errDeadline
	}
	if timeout > 0 {
		left = min(left, timeout)
	}
	return left, nil
}

func (b *boundConn) Do(cmd string, args ...any) (any, error) { return b.DoWithTimeout(0, cmd, args...) }

func (b *boundConn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	left, err := b.left(timeout)
	if err != nil {
		return nil, err
	}
	b.sent = true
	return doWithTimeout(b.Conn, left, cmd, args)
}

func (b *boundConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	ctx, cancel := context.WithDeadline(ctx, b.deadline)
	defer cancel()
	b.sent = true
	return redis.DoContext(b.Conn, ctx, cmd, args...)
}

func (b *boundConn) Send(cmd string, args ...any) error {
	b.sent = true
	return b.Conn.Send(cmd, args...)
}

// Flush has no timeout in redigo, where it only writes. A Mux carries out what was sent.
func (b *boundConn) Flush() error {
	c, ok := b.Conn.(*muxConn)
	if !ok {
		return b.Conn.Flush()
	}
	left, err := b.left(0)
	if err != nil {
		return err
	}
	return c.flush(left)
}

func (b *boundConn) Receive() (any, error) { return b.ReceiveWithTimeout(0) }

func (b *boundConn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	left, err := b.left(timeout)
	if err != nil {
		left = time.Microsecond // let redigo time out: it then closes the socket with the reply that is still due
	}
	return receive(b.Conn, left)
}

// ReceiveContext touches no field: cutOnCancel calls it from another goroutine.
func (b *boundConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(b.Conn, ctx)
}

// outcome is err, of a func that may be the user's own, or ErrUnknown if no answer came: something was sent, the
// connection is dead, and err is no answer.
func (b *boundConn) outcome(ctx context.Context, verb, key string, err error) error {
	if err == nil || !b.sent || b.Err() == nil {
		return err
	}
	for _, answer := range []error{
		ErrUnknown, ErrHeld, ErrNotHeld, ErrConflict, ErrExpired, ErrInvalid, ErrUnsupported, ErrUnavailable,
	} {
		if errors.Is(err, answer) {
			return err
		}
	}
	if _, isReply := fault.Reply(err); isReply || fault.CertificateRefused(err) {
		return err
	}
	return fault.UnknownOutcome(ctx, verb, key, err)
}

// boxed returns s as an argument, boxed already if it is the key or the token of the lock that c was borrowed for.
func boxed(c redis.Conn, s string) any {
	if b, ok := c.(*boundConn); ok {
		if key, _ := b.key.(string); key == s {
			return b.key
		}
		if token, _ := b.token.(string); token == s {
			return b.token
		}
	}
	return s
}

// A boxedTTL is a ttl in ms as an argument.
type boxedTTL struct {
	ttl time.Duration
	ms  any
}

func boxTTL(ttl time.Duration) *boxedTTL { return &boxedTTL{ttl, ttl.Milliseconds()} }

// millis returns the ttl as an argument, boxed already if it is that of the lock that c was borrowed for.
func millis(c redis.Conn, ttl time.Duration) any {
	if b, ok := c.(*boundConn); ok && b.ttl != nil && b.ttl.ttl == ttl {
		return b.ttl.ms
	}
	return ttl.Milliseconds()
}

// argsOf returns room for the n arguments of a command, or of a pipeline, without an allocation where the handle has it.
func argsOf(c redis.Conn, n int) []any {
	b, ok := c.(*boundConn)
	if !ok || int(b.taken)+n > len(b.args) {
		return make([]any, n)
	}
	if !b.forgets {
		b.taken = int8(len(b.args))
	}
	return b.args[:n:n]
}
