// Package wire carries out an exchange: requests and their replies on one connection, in one round trip, bounded by a context and
// by a point in time. It is the one place that sends commands and says whether they may have been carried out. What happens to
// an exchange:
//
//	ctx has ended, or the connection is broken already   nothing is sent: the outcome is definite
//	the reply comes                                      it decides, even if ctx ended in the same moment
//	no reply comes (deadline, cancellation, broken)      the outcome is not known, and the connection is dead: its socket
//	                                                     is closed, so that a late reply can never be read as the answer
//	                                                     to a later command
//
// It knows connections of redigo, a connection that a Locker has borrowed (Bound), and connections that carry a whole exchange
// by themselves (Carrier), as those of a Mux do.
package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A Request is one command.
type Request struct {
	Cmd    string
	Args   []any
	Script *Script // the command is EVALSHA with its digest: Exchange sends its text to a server that does not know it
}

// A Script is a Lua script, each part of it as an argument, boxed once.
type Script struct {
	Text, Digest any
	Keys         any // how many
	// Stays says that it is not led to another node of a cluster: MOVED, or ASK, is its answer. It asks who is subscribed at the
	// node, and those that are have not followed the slot yet.
	Stays bool
}

// Request returns the request that runs the script. args comes from Args.
func (s *Script) Request(args []any) Request { return Request{"EVALSHA", args, s} }

// A Result is how an exchange ended.
type Result struct {
	Answered int   // so many replies have come, also if there is an error; an error reply is one, but not that of a closed door
	Sent     bool  // something may have been carried out; it is looked at where there is an error
	Err      error // nil: all replies have come
}

// A Carrier is a connection that carries out an exchange as a whole.
type Carrier interface {
	redis.Conn
	// Exchange is as the function Exchange, of requests without scripts, on a connection that is not broken, and under a ctx
	// that has not ended. It was begun at now; zero: right now. It ends at by; zero: when the connection says so.
	Exchange(ctx context.Context, now, by time.Time, reqs []Request, replies []any) Result
	// FlushWithTimeout is Flush, which takes as long as an exchange does.
	FlushWithTimeout(timeout time.Duration) error
}

// Exchange sends the requests and reads the reply to each; an error reply is one of them, as redis.Error. It ends with ctx. A
// single request may travel in Do, several in Send, Flush and Receive.
//
// Where a server does not know a script, nothing of that was carried out: it gets the text with the first of the requests
// that want it, and the others that want it once more.
func Exchange(ctx context.Context, c redis.Conn, reqs []Request, replies []any) Result {
	res := once(ctx, c, reqs, replies)
	if res.Err != nil {
		return res
	}
	for i := range reqs {
		if reqs[i].Script != nil && isNoScript(replies[i]) {
			return withTexts(ctx, c, reqs, replies)
		}
	}
	return res
}

func isNoScript(reply any) bool {
	re, ok := reply.(redis.Error)
	return ok && fault.Word(re) == "NOSCRIPT"
}

// withTexts repeats the requests whose scripts the server did not know. What it sends is not what was sent before: a
// connection may have kept that.
func withTexts(ctx context.Context, c redis.Conn, reqs []Request, replies []any) Result {
	var again []Request
	var places []int // of again
	told := map[*Script]bool{}
	for i, r := range reqs {
		if r.Script == nil || !isNoScript(replies[i]) {
			continue
		}
		r.Args = append([]any(nil), r.Args...)
		if !told[r.Script] {
			told[r.Script] = true
			r.Cmd, r.Args[0] = "EVAL", r.Script.Text
		}
		again, places = append(again, r), append(places, i)
	}
	answers := make([]any, len(again))
	res := once(ctx, c, again, answers)
	res.Sent = res.Sent || len(again) < len(reqs) // the others were carried out
	for i, reply := range answers[:res.Answered] {
		replies[places[i]] = reply
	}
	if res.Answered == len(again) {
		res.Answered = len(reqs)
	} else {
		res.Answered = places[res.Answered]
	}
	return res
}

// once is Exchange for requests whose scripts the server knows.
func once(ctx context.Context, c redis.Conn, reqs []Request, replies []any) Result {
	if ctx.Err() != nil {
		return Result{Err: fault.OfContext(ctx)}
	}
	if err := c.Err(); err != nil { // never borrowed, or broken before
		return Result{Err: err}
	}
	b, isBound := c.(*Bound)
	now, by, err := span(ctx, b)
	if err != nil {
		return Result{Err: err}
	}
	if isBound {
		b.sent = true // before a func of the user's may panic
		c = b.Conn
	}
	var res Result
	if x, ok := c.(Carrier); ok {
		res = carry(ctx, x, now, by, reqs, replies)
	} else {
		res = exchange(ctx, c, now, by, reqs, replies)
	}
	if res.Answered > 0 {
		if re, ok := replies[0].(redis.Error); ok && fault.AtDoor(re) { // the server has read nothing, and the other replies never come
			res = Result{Err: re}
			CutLive(c)
		}
	}
	return res
}

var errDeadline = fmt.Errorf("no time left before the operation's timeout: %w", os.ErrDeadlineExceeded)

// span is when an exchange begins, zero if the clock need not be asked for that, and by when it must be over; zero: nothing
// limits it but the connection's own read timeout. b is nil for a connection that is not bound.
func span(ctx context.Context, b *Bound) (now, by time.Time, err error) {
	by, limited := ctx.Deadline()
	if b != nil {
		if fresh := b.fresh; fresh > 0 && !limited {
			b.fresh = 0
			return b.deadline.Add(-fresh), b.deadline, nil
		}
		if !limited || b.deadline.Before(by) {
			by, limited = b.deadline, true
		}
	}
	if !limited {
		return now, by, nil
	}
	if now = time.Now(); !now.Before(by) {
		return now, by, errDeadline // the operation's time was used up by what came before
	}
	return now, by, nil
}

// A room is for what carry gives to a Carrier: what goes through an interface escapes, and requests and replies stand on
// their caller's stack.
type room struct {
	reqs    [4]Request
	replies [4]any
}

var rooms = sync.Pool{New: func() any { return new(room) }}

func carry(ctx context.Context, x Carrier, now, by time.Time, reqs []Request, replies []any) Result {
	r := rooms.Get().(*room)
	defer func() {
		*r = room{}
		rooms.Put(r)
	}()
	rr, aa := append(r.reqs[:0], reqs...), append(r.replies[:0], replies...)
	res := x.Exchange(ctx, now, by, rr, aa)
	copy(replies, aa[:res.Answered])
	return res
}

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
	case fault.NothingDone(err), errors.Is(err, errNoSend):
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
