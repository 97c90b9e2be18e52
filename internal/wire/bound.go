package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A Bound is a borrowed connection with the time by which its exchange must be over, so that a func of the user's that acquires
// or releases is bounded as well, and with the boxed arguments that a lock's commands share.
type Bound struct {
	redis.Conn
	Key, Token any  // boxed once: each boxed string is an allocation
	TTL        *TTL // nil: none

	deadline time.Time     // of the exchange
	rest     time.Duration // of the operation's time, after deadline: for another exchange
	fresh    time.Duration // until deadline, as just measured, for the first command; 0: look at the clock
	sent     bool          // something was written: without an answer the outcome is unknown
	forgets  bool          // the connection does not keep the arguments that it is given, as a tracer may: they are used again
	taken    int8          // so many of args have been given to one that may
	dialect  *Dialect      // of the server that its pool leads to; nil: none is kept
	args     [6]any        // those of an acquire, and then of a release
}

// BoundBy returns a Bound of a connection, for exchanges that end by then.
func BoundBy(c redis.Conn, deadline time.Time) *Bound { return &Bound{Conn: c, deadline: deadline} }

// Format shows nothing of the lock: a func of the user's may log its connection.
func (b *Bound) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "a connection of a Locker") }

// Borrow is called before a connection is borrowed. One that forgets does not keep the arguments that it is given.
// d is what is known of the server that the pool leads to; nil: nothing is kept.
func (b *Bound) Borrow(forgets bool, d *Dialect) { b.sent, b.forgets, b.dialect = false, forgets, d }

// Begin begins an exchange, which takes most, at the most, of an operation that ends at by.
func (b *Bound) Begin(now, by time.Time, most time.Duration) {
	b.deadline, b.fresh, b.rest = by, by.Sub(now), 0
	if most < b.fresh {
		b.deadline, b.fresh, b.rest = now.Add(most), most, b.fresh-most
	}
}

// Ends is when the operation ends.
func (b *Bound) Ends() time.Time { return b.deadline.Add(b.rest) }

// MayAskAgain reports whether an exchange that ended with err may be repeated on another connection: its own has
// broken, and there is time left.
func (b *Bound) MayAskAgain(ctx context.Context, err error) bool {
	return errors.Is(err, fault.Unknown) && ctx.Err() == nil && time.Now().Before(b.Ends())
}

// NotLent reports whether the pool has lent no connection, though the server has not refused one: a pool that was closed, or
// is exhausted.
func (b *Bound) NotLent(err error) bool {
	var re redis.Error
	return b.Conn == nil && !errors.As(err, &re)
}

// Outcome is err, of a func that may be the user's own, or Unknown if no answer came: something was sent, the
// connection is dead, and err is no answer.
func (b *Bound) Outcome(ctx context.Context, verb, key string, err error) error {
	if err == nil || !b.sent || b.Err() == nil {
		return err
	}
	for _, answer := range []error{
		fault.Unknown, fault.Held, fault.NotHeld, fault.Conflict, fault.Expired, fault.Invalid, fault.Unsupported, fault.Unavailable,
		fault.NotReplicated,
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

// TakeBack is GiveBack after a func that may be the user's own, and may have panicked in the middle of a command: then the
// reply is still due, and the next who borrowed the connection would read it as that of a command of its own.
func (b *Bound) TakeBack(returned bool, err error) {
	if !returned && b.sent {
		CutLive(b)
	}
	b.GiveBack(err)
}

// GiveBack returns the connection, if there is one. err is what its last exchange ended with: a connection whose reply is still
// due is dead by then, which the pool sees; one that leads to a server that may not write any more is cut here, so that the
// pool dials anew, perhaps a server that may.
func (b *Bound) GiveBack(err error) {
	if b.Conn == nil {
		return
	}
	if err != nil && fault.ReadOnly(err) {
		Cut(b.Conn)
	}
	_ = b.Conn.Close()
	b.Conn = returned{} // a func of the user's may have kept b
}

// returned is a connection that was given back.
type returned struct{}

var errReturned = errors.New("the connection was given back")

func (returned) Close() error                   { return nil }
func (returned) Err() error                     { return errReturned }
func (returned) Do(string, ...any) (any, error) { return nil, errReturned }
func (returned) Send(string, ...any) error      { return errReturned }
func (returned) Flush() error                   { return errReturned }
func (returned) Receive() (any, error)          { return nil, errReturned }

// Aged has the next exchange look at the clock: what Begin measured is old by then. It is called before a func of the user's runs,
// which takes its time, or sends commands by itself. Of another connection it knows nothing.
func Aged(c redis.Conn) {
	if b, ok := c.(*Bound); ok {
		b.fresh = 0
	}
}

// Left is how long the next of its exchanges may take.
func (b *Bound) Left(ctx context.Context) time.Duration {
	by := b.deadline
	if d, limited := ctx.Deadline(); limited && d.Before(by) {
		by = d
	}
	return time.Until(by)
}

func (b *Bound) left(timeout time.Duration) (time.Duration, error) {
	left := time.Until(b.deadline)
	if left <= 0 {
		return 0, errDeadline
	}
	if timeout > 0 {
		left = min(left, timeout)
	}
	return left, nil
}

// Do is bounded, as all that follows.
func (b *Bound) Do(cmd string, args ...any) (any, error) { return b.DoWithTimeout(0, cmd, args...) }

// DoWithTimeout takes no longer than the exchange may.
func (b *Bound) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	left, err := b.left(timeout)
	if err != nil {
		return nil, err
	}
	b.sent = true
	return do(b.Conn, left, cmd, args)
}

// DoContext ends with the exchange's time, too.
func (b *Bound) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	ctx, cancel := context.WithDeadline(ctx, b.deadline)
	defer cancel()
	b.sent = true
	return redis.DoContext(b.Conn, ctx, cmd, args...)
}

// Send only buffers, with redigo.
func (b *Bound) Send(cmd string, args ...any) error {
	b.sent = true
	return b.Conn.Send(cmd, args...)
}

// Flush has no timeout in redigo, where it only writes. A Carrier carries out what was sent.
func (b *Bound) Flush() error {
	c, ok := b.Conn.(Carrier)
	if !ok {
		return b.Conn.Flush()
	}
	left, err := b.left(0)
	if err != nil {
		return err
	}
	return c.FlushWithTimeout(left)
}

// Receive takes no longer than the exchange may.
func (b *Bound) Receive() (any, error) { return b.ReceiveWithTimeout(0) }

// ReceiveWithTimeout takes no longer than the exchange may.
func (b *Bound) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	left, err := b.left(timeout)
	if err != nil {
		left = time.Microsecond // let redigo time out: it then closes the socket with the reply that is still due
	}
	return Receive(b.Conn, left)
}

// ReceiveContext touches no field: it may be called from another goroutine, to cut.
func (b *Bound) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(b.Conn, ctx)
}

// Boxed returns s as an argument, boxed already if it is the key or the token of the lock that c was borrowed for.
func Boxed(c redis.Conn, s string) any {
	if b, ok := c.(*Bound); ok {
		if key, _ := b.Key.(string); key == s {
			return b.Key
		}
		if token, _ := b.Token.(string); token == s {
			return b.Token
		}
	}
	return s
}

// A TTL is a ttl, also in ms as an argument.
type TTL struct {
	TTL time.Duration
	ms  any
}

// BoxTTL boxes a ttl.
func BoxTTL(ttl time.Duration) *TTL { return &TTL{ttl, ttl.Milliseconds()} }

// Millis returns the ttl as an argument, boxed already if it is that of the lock that c was borrowed for.
func Millis(c redis.Conn, ttl time.Duration) any {
	if b, ok := c.(*Bound); ok && b.TTL != nil && b.TTL.TTL == ttl {
		return b.TTL.ms
	}
	return ttl.Milliseconds()
}

// Args returns room for the n arguments of a command, or of a pipeline, without an allocation where the handle has it.
func Args(c redis.Conn, n int) []any {
	b, ok := c.(*Bound)
	if !ok || int(b.taken)+n > len(b.args) {
		return make([]any, n)
	}
	if !b.forgets {
		b.taken = int8(len(b.args))
	}
	return b.args[:n:n]
}

// Args returns the arguments of the script's request, with room for n keys and arguments from the third on.
func (s *Script) Args(c redis.Conn, n int) []any {
	args := Args(c, 2+n)
	args[0], args[1] = s.Digest, s.Keys
	return args
}
