package redigolock

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// An AcquireFunc tries once to put token into key for ttl: [SetNX], [SetNXVerified], [SetNXGet], [SetNXScript], or a func of yours.
// It returns nil, an error that is [ErrHeld], or what went wrong. Within one acquire it is always called with the same token.
//
// A func of yours must return an error that is [ErrUnknown] when the token may be in the key; a Locker sees by itself that a reply
// was lost. A Locker's connection bounds each command by OpTimeout, but cancels only those of this package's verbs.
type AcquireFunc func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error

// SetNX acquires a lock by SET key token NX PX ttl, the first approach of the articles: one command that is atomic
// by itself. It is one round trip.
//
// It returns nil if the key was free and carries the token now; a *[HeldError] without holder and TTL, for Redis does
// not tell them, and so also where the key carries this very token, another type, or a string without TTL;
// [ErrUnknown] if no reply came; [ErrInvalid]; or what the server refused it with.
func SetNX(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	const verb = "setnx"
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return err
	}
	reply, err := wire.Do(ctx, c, verb, key, "SET", setArgs(c, wire.Args(c, 5), key, token, ttl)...)
	if re, ok := err.(redis.Error); ok {
		return fault.Refused(verb, key, re)
	}
	if err != nil {
		return err
	}
	return setReply(verb, key, reply)
}

var nx, px any = "NX", "PX"

func setArgs(c redis.Conn, args []any, key, token string, ttl time.Duration) []any {
	args[0], args[1], args[2], args[3], args[4] = wire.Boxed(c, key), wire.Boxed(c, token), nx, px, wire.Millis(c, ttl)
	return args
}

// setReply judges the reply of SET NX.
func setReply(verb, key string, reply any) error {
	switch reply {
	case nil:
		return &HeldError{Key: key}
	case "OK":
		return nil
	}
	return fault.MaybeSet(fault.Unexpected(verb, key, reply))
}

// SetNXVerified is [SetNX] with the double check of the articles: GET reads the key back, and GET decides. Both
// travel in one pipeline, so the check costs no second round trip.
//
//	GET says          SET said       result
//	own token         anything       nil: acquired, now or by an earlier call with this token
//	another token     anything       *HeldError with the holder
//	nothing           OK             ErrExpired: acquired, and gone before it could be read back
//	nothing           refused        *HeldError without holder: it has left meanwhile, try again
//	another type      refused        ErrConflict
//
// So it is re-entrant for a fixed token: code that is ported from SET key nodeID NX, with one value for each node, gets nil
// for each of its goroutines. Use a token of [NewToken] for each acquire.
//
// After an earlier call with the same token that ended with [ErrUnknown], nil may mean that call's lock: its ttl
// counts from that call's send, unless an [Extend] renews it. It also returns [ErrUnknown] if no reply came,
// [ErrInvalid], or what the server refused it with.
//
// The check narrows the gap between the server's answer and the caller, it does not close it: the lock can expire
// right after it. What closes it is [Lock.Deadline] by the holder's clock, and [Fence] at the resource.
func SetNXVerified(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	const verb = "setnx verified"
	_, err := setNXVerified(ctx, c, verb, key, token, ttl)
	return err
}

// setNXVerified is SetNXVerified. It reports whether it was SET that put the token into the key, and not an earlier call.
func setNXVerified(ctx context.Context, c redis.Conn, verb, key, token string, ttl time.Duration) (isNew bool, err error) {
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return false, err
	}
	args := wire.Args(c, 6)
	args[5] = wire.Boxed(c, key)
	reqs := [...]wire.Request{{Cmd: "SET", Args: setArgs(c, args[:5:5], key, token, ttl)}, {Cmd: "GET", Args: args[5:]}}
	var replies [2]any
	if _, err := wire.Pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		if re, ok := replies[0].(redis.Error); ok && errors.Is(err, ErrUnknown) {
			return false, fault.Refused(verb, key, re) // not set, whatever GET would have said
		}
		return false, err
	}
	return replies[0] == "OK", verified(verb, key, token, replies[0], replies[1])
}

// verified is the table of SetNXVerified.
func verified(verb, key, token string, set, get any) error {
	switch get := get.(type) {
	case []byte:
		if string(get) == token {
			return nil
		}
		return &HeldError{Key: key, Holder: names.Holder(string(get))}
	case redis.Error:
		return unread(set, fault.Refused(verb, key, get))
	case nil:
	default:
		if err := wire.RefuseQueued(verb, key, get); err != nil {
			return err
		}
		return unread(set, fault.Unexpected(verb, key, get))
	}
	if re, ok := set.(redis.Error); ok {
		return fault.Refused(verb, key, re) // refused, and nobody holds it
	}
	err := setReply(verb, key, set)
	if err == nil {
		return fault.Of(ErrExpired, verb, key, "it was gone when it was read back")
	}
	return err
}

// SetNXGet is the double check in one command: SET key token NX GET PX ttl, of Redis 7.0 and Valkey. What it replies is the value
// that was in the key, so nobody can come between the two questions.
//
//	reply            result
//	nothing          nil: acquired now
//	own token        nil: acquired by an earlier call with this token; its ttl is as it was
//	another token    *HeldError with the holder
//	WRONGTYPE        ErrConflict
//	a syntax error   ErrUnsupported: the server is older, and nothing was changed
//
// All else that [SetNXVerified] says of its own token and of [ErrUnknown] holds here, too. Three things that SET and then GET see,
// it does not: who has the lock, where the server refuses SET (OOM, MISCONF, NOREPLICAS, READONLY) and would answer GET; that a
// token is gone again, which is ErrExpired there; and a key that its user may write and not read is refused (NOPERM) before
// anything is set.
//
// A server or a proxy that takes the command and ignores its GET, as some that are not Redis do, turns the meaning of its reply
// around. A Locker finds that out (docs/choosing.md); this verb cannot.
func SetNXGet(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	const verb = "setnx get"
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return err
	}
	reply, err := wire.Do(ctx, c, verb, key, "SET", setGetArgs(c, key, token, ttl)...)
	if re, ok := err.(redis.Error); ok {
		return setGetRefused(verb, key, re)
	}
	if err != nil {
		return err
	}
	_, err = setGetReply(verb, key, token, reply)
	return err
}

var get any = "GET"

func setGetArgs(c redis.Conn, key, token string, ttl time.Duration) []any {
	args := wire.Args(c, 6)
	args[0], args[1], args[2], args[3], args[4], args[5] = wire.Boxed(c, key), wire.Boxed(c, token), nx, get, px, wire.Millis(c, ttl)
	return args
}

// setGetReply judges the reply of SET with NX and GET. isNew is as that of setNXVerified.
func setGetReply(verb, key, token string, reply any) (isNew bool, err error) {
	switch reply := reply.(type) {
	case nil:
		return true, nil
	case []byte:
		if string(reply) == token {
			return false, nil
		}
		return false, &HeldError{Key: key, Holder: names.Holder(string(reply))}
	}
	return false, fault.MaybeSet(fault.Unexpected(verb, key, reply))
}

func setGetRefused(verb, key string, re redis.Error) error {
	if fault.SyntaxError(re) {
		return fault.Of(ErrUnsupported, verb, key, "the server does not know SET with NX and GET: use SetNXVerified")
	}
	return fault.Refused(verb, key, re)
}

// setNXKnown is the acquire of a Locker that has none of its user's: SetNXGet, where the server is known to answer that as Redis
// 7.0 does, else SetNXVerified. What it replaces is SetNXVerified: where the server may read and not write, that asks.
// isNew is as that of setNXVerified.
func setNXKnown(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) (isNew bool, err error) {
	const verb = "setnx get"
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return false, err
	}
	known := wire.Known(c)
	switch known.SetGet {
	case wire.SetGetUntold:
		return setNXTold(ctx, c, known, key, token, ttl)
	case wire.SetGetUnknown:
		return setNXVerified(ctx, c, "setnx verified", key, token, ttl)
	}
	reply, err := wire.Do(ctx, c, verb, key, "SET", setGetArgs(c, key, token, ttl)...)
	if err == nil {
		return setGetReply(verb, key, token, reply)
	}
	if re, ok := err.(redis.Error); ok {
		err = setGetRefused(verb, key, re)
	}
	switch {
	case errors.Is(err, ErrUnsupported):
		known.LearnSetGet(c, wire.SetGetUnknown)
	case !fault.RefusedWrite(err):
		return false, err
	}
	return setNXVerified(ctx, c, "setnx verified", key, token, ttl)
}

// setNXTold is setNXKnown for the first time that a server is asked. The command travels twice, in one pipeline, and the second
// must find the value that the first has set or found. Where GET is ignored, or NX goes first, it does not: nil would be the reply
// to a token that was not set.
func setNXTold(ctx context.Context, c redis.Conn, known wire.Learned, key, token string, ttl time.Duration) (isNew bool, err error) {
	const verb = "setnx get"
	args := setGetArgs(c, key, token, ttl)
	reqs := [...]wire.Request{{Cmd: "SET", Args: args}, {Cmd: "SET", Args: args}}
	var replies [2]any
	if _, err := wire.Pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		return false, err
	}
	refusal, refused := replies[1].(redis.Error)
	_, was := replies[0].([]byte)
	switch _, value := replies[1].([]byte); {
	case value, was && replies[1] == nil: // the lock that the first has found has ended, and the second has set the token
		known.LearnSetGet(c, wire.SetGetKnown)
		_, err := setGetReply(verb, key, token, replies[1])
		return replies[0] == nil || replies[1] == nil, err
	case !refused:
		if err := wire.RefuseQueued(verb, key, replies[1]); err != nil {
			return false, err
		}
		known.LearnSetGet(c, wire.SetGetUnknown)
	case fault.SyntaxError(refusal):
		known.LearnSetGet(c, wire.SetGetUnknown)
	case !fault.RefusedWrite(refusal):
		return false, ifSet(replies[0], setGetRefused(verb, key, refusal))
	}
	first := replies[0] == "OK" || refused && replies[0] == nil // a server that ignored GET set it, or one that refused the second
	isNew, err = setNXVerified(ctx, c, "setnx verified", key, token, ttl)
	return isNew || first, ifSet(replies[0], err)
}

// ifSet is err, of an acquire whose first command may have set the token if it was not refused.
func ifSet(first any, err error) error {
	if _, refused := first.(redis.Error); refused || err == nil || errors.Is(err, ErrHeld) || errors.Is(err, ErrConflict) {
		return err
	}
	return fault.MaybeSet(err)
}

// unread is the error of a GET that does not tell, after a SET that may have been carried out: its reply was OK, or none that
// Redis gives.
func unread(set any, err error) error {
	if _, refused := set.(redis.Error); refused || set == nil || errors.Is(err, ErrConflict) {
		return err
	}
	return fault.MaybeSet(err)
}
