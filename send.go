package redigolock

import (
	"context"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// This file has the verbs send their commands, and says in their words what came of that. How an exchange is bounded and
// cancelled, and when its outcome is unknown: see internal/wire.

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
	switch {
	case res.Err == nil:
	case res.Sent:
		err = fault.UnknownOutcome(ctx, verb, key, res.Err)
	default:
		err = fault.NoConnection(ctx, verb, key, res.Err)
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
