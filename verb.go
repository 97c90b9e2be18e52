package redigolock

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// What all verbs on a connection have in common: what they check before they send anything (checkCall and the like), how they
// send (do, eval, pipeline), and how they read replies (reply0, tokenAndTTL). Errors are in the verb's words. How an exchange is
// bounded and cancelled, and when its outcome is unknown: see internal/wire.

const (
	maxKey       = 64 << 10 // bytes, of a key and of a token
	maxTTL       = 24 * time.Hour
	minLockerTTL = 10 * time.Millisecond // less is within the noise of any scheduler
	maxFence     = 1<<53 - 1             // Lua's numbers are doubles, exact up to here
)

// checkCall is what all verbs on a connection have in common.
func checkCall(ctx context.Context, c redis.Conn, verb, key string) error {
	switch {
	case ctx == nil:
		return fault.Invalidf(verb, "ctx is nil")
	case c == nil:
		return fault.Invalidf(verb, "the connection is nil")
	}
	return checkKey(verb, key)
}

// checkKey allows any key but one that goes with the lock of another: it would be taken for that lock's queue or counter.
func checkKey(verb, key string) error {
	if err := checkBytes(verb, "key", key); err != nil {
		return err
	}
	if names.IsSibling(key) {
		return fault.Invalidf(verb, "the key %s is one that goes with the lock of another key", fault.Quote(key))
	}
	return nil
}

// checkBytes allows 1 byte to 64 KiB, any bytes.
func checkBytes(verb, what, s string) error {
	switch {
	case s == "":
		return fault.Invalidf(verb, "the %s is empty", what)
	case len(s) > maxKey:
		return fault.Invalidf(verb, "the %s has %d bytes, at most %d are allowed", what, len(s), maxKey)
	}
	return nil
}

// checkTokenCall is checkCall for a verb with a token.
func checkTokenCall(ctx context.Context, c redis.Conn, verb, key, token string) error {
	if err := checkCall(ctx, c, verb, key); err != nil {
		return err
	}
	return checkBytes(verb, "token", token)
}

// checkTTLCall is checkTokenCall for a verb with a ttl.
func checkTTLCall(ctx context.Context, c redis.Conn, verb, key, token string, ttl time.Duration) error {
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return err
	}
	return checkTTL(verb, ttl, time.Millisecond)
}

// checkTTL allows whole milliseconds only: redislock's Extend of 500 µs was rounded to 0, which deletes the key.
func checkTTL(verb string, ttl, least time.Duration) error {
	switch {
	case ttl < least || ttl > maxTTL:
		return fault.Invalidf(verb, "the ttl is %v, allowed is %v to %v", ttl, least, maxTTL)
	case ttl%time.Millisecond != 0:
		return fault.Invalidf(verb, "the ttl is %v, allowed are whole milliseconds", ttl)
	}
	return nil
}

// checkFence allows the numbers that Fence can give.
func checkFence(verb string, fence int64) error {
	if fence < 1 || fence > maxFence {
		return fault.Invalidf(verb, "the fencing number is %d, allowed is 1 to 2^53-1", fence)
	}
	return nil
}

// sibling returns the key that goes with a lock's key by this name, or ErrInvalid if it cannot have one.
func sibling(verb, key, name string) (string, error) {
	other, ok := names.Sibling(key, name)
	if !ok {
		return "", fmt.Errorf("%w: %s: key %s has a '}' but no hash tag, so no other key can share its cluster slot",
			ErrInvalid, verb, fault.Quote(key))
	}
	return other, nil
}

// do sends one command and returns its reply. An error reply comes back as [redis.Error], unwrapped; every other
// error is ready for the caller.
func do(ctx context.Context, c redis.Conn, verb, key, cmd string, args ...any) (any, error) {
	return doRequest(ctx, c, verb, key, wire.Request{Cmd: cmd, Args: args})
}

func doRequest(ctx context.Context, c redis.Conn, verb, key string, req wire.Request) (any, error) {
	reqs := [1]wire.Request{req}
	var replies [1]any
	if _, err := pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		return nil, err
	}
	if re, ok := replies[0].(redis.Error); ok {
		return re, re
	}
	return replies[0], queued(verb, key, replies[0])
}

// eval runs a script. args comes from its Args.
func eval(ctx context.Context, c redis.Conn, verb, key string, s *wire.Script, args []any) (any, error) {
	reply, err := doRequest(ctx, c, verb, key, s.Request(args))
	if re, ok := err.(redis.Error); ok {
		err = fault.Refused(verb, key, re)
	}
	return reply, err
}

// pipeline sends all requests in one write and reads all their replies, one round trip. An error reply is an
// element of replies, as redis.Error. The first replies that came, so many as answered says, are there also if there is an error.
func pipeline(ctx context.Context, c redis.Conn, verb, key string, reqs []wire.Request, replies []any) (answered int, err error) {
	res := wire.Exchange(ctx, c, reqs, replies)
	if res.Err != nil {
		err = fault.Unanswered(ctx, verb, key, res.Sent, res.Err)
	}
	return res.Answered, err
}

// spoilt is the error of a connection that was left in the middle of a transaction: it must not be used again.
func spoilt(ctx context.Context, c redis.Conn, verb, key string, err error) error {
	if fault.NothingDone(err) {
		return fault.NoConnection(ctx, verb, key, err)
	}
	wire.CutLive(c)
	return fault.UnknownOutcome(ctx, verb, key, err)
}

// queued refuses the answer of a connection that is inside MULTI: nothing is decided before EXEC, and a script's
// refusal does not stop EXEC.
func queued(verb, key string, reply any) error {
	if s, ok := reply.(string); ok && s == "QUEUED" {
		return fault.Of(ErrUnsupported, verb, key, "the connection is inside MULTI: DISCARD it")
	}
	return nil
}

// tokenAndTTL reads a reply of token and PTTL.
func tokenAndTTL(reply any) (token string, left time.Duration, ok bool) {
	list, _ := reply.([]any)
	if len(list) < 2 {
		return "", 0, false
	}
	value, isString := list[0].([]byte)
	ms, isNumber := list[1].(int64)
	return string(value), fromMillis(ms), isString && isNumber
}

// fromMillis is the duration of a PTTL, which can be longer than a Duration: then the longest.
func fromMillis(ms int64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// reply0 reads the reply of a script that says 0 for "not held" and a positive number else.
func reply0(verb, key string, reply any) (int64, error) {
	switch n, ok := reply.(int64); {
	case !ok || n < 0:
		return 0, unexpected(verb, key, reply)
	case n == 0:
		return 0, notHeld(verb, key)
	default:
		return n, nil
	}
}

// unexpected is the error for a reply that the protocol does not allow here, such as that of a proxy.
func unexpected(verb, key string, reply any) error {
	return fmt.Errorf("redigolock: %s %s: unexpected reply of type %T", verb, fault.Quote(key), reply)
}
