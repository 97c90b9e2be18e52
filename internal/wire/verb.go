package wire

import (
	"context"
	"math"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// How the verbs send (Do, Eval, Pipeline) and read replies (ReadHeld, ReadTokenAndTTL): by an Exchange, whose errors are in the
// verb's words.

// Do sends one command and returns its reply. An error reply comes back as [redis.Error], unwrapped; every other
// error is ready for the caller.
func Do(ctx context.Context, c redis.Conn, verb, key, cmd string, args ...any) (any, error) {
	return DoRequest(ctx, c, verb, key, Request{Cmd: cmd, Args: args})
}

// DoRequest is Do of a request.
func DoRequest(ctx context.Context, c redis.Conn, verb, key string, req Request) (any, error) {
	reqs := [1]Request{req}
	var replies [1]any
	if _, err := Pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		return nil, err
	}
	if re, ok := replies[0].(redis.Error); ok {
		return re, re
	}
	return replies[0], RefuseQueued(verb, key, replies[0])
}

// Eval runs a script. args comes from its Args.
func Eval(ctx context.Context, c redis.Conn, verb, key string, s *Script, args []any) (any, error) {
	reply, err := DoRequest(ctx, c, verb, key, s.Request(args))
	if re, ok := err.(redis.Error); ok {
		err = fault.Refused(verb, key, re)
	}
	return reply, err
}

// Pipeline sends all requests in one write and reads all their replies, one round trip. An error reply is an
// element of replies, as redis.Error. The first replies that came, so many as answered says, are there also if there is an error.
func Pipeline(ctx context.Context, c redis.Conn, verb, key string, reqs []Request, replies []any) (answered int, err error) {
	res := Exchange(ctx, c, reqs, replies)
	if res.Err != nil {
		err = fault.Unanswered(ctx, verb, key, res.Sent, res.Err)
	}
	return res.Answered, err
}

// RefuseQueued refuses the answer of a connection that is inside MULTI: nothing is decided before EXEC, and a script's
// refusal does not stop EXEC.
func RefuseQueued(verb, key string, reply any) error {
	if s, ok := reply.(string); ok && s == "QUEUED" {
		return fault.Of(fault.Unsupported, verb, key, "the connection is inside MULTI: DISCARD it")
	}
	return nil
}

// ReadTokenAndTTL reads a reply of token and PTTL.
func ReadTokenAndTTL(reply any) (token string, left time.Duration, ok bool) {
	list, _ := reply.([]any)
	if len(list) < 2 {
		return "", 0, false
	}
	value, isString := list[0].([]byte)
	ms, isNumber := list[1].(int64)
	return string(value), FromMillis(ms), isString && isNumber
}

// FromMillis is the duration of a PTTL, which can be longer than a Duration: then the longest.
func FromMillis(ms int64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// ReadHeld reads the reply of a script that says 0 for "not held" and a positive number else.
func ReadHeld(verb, key string, reply any) (int64, error) {
	switch n, ok := reply.(int64); {
	case !ok || n < 0:
		return 0, fault.Unexpected(verb, key, reply)
	case n == 0:
		return 0, fault.Gone(verb, key)
	default:
		return n, nil
	}
}
