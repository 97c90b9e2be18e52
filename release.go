package redigolock

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// A ReleaseFunc removes token from key, and nothing else: [Release], [ReleaseTx], [ReleaseNative], or a func of
// yours. It returns [ErrNotHeld] if the key did not carry the token.
//
// It need not retry. After a lost reply it cannot: its connection is dead then. A Locker calls it a second time by itself, on a
// connection that is not the pool's, after an [ErrUnknown], and after a refusal that may pass.
type ReleaseFunc func(ctx context.Context, c redis.Conn, key, token string) error

// Release deletes the key if it carries the token, in one script: the safe release of the articles. A lock with
// this token and without TTL is deleted, too.
//
// It returns [ErrNotHeld] if the key does not carry the token, which is no success: the lock was lost before. It
// returns [ErrConflict] if the key holds another type or a foreign string without TTL, [ErrUnknown] if no reply came,
// [ErrInvalid], or what the server refused it with.
func Release(ctx context.Context, c redis.Conn, key, token string) error {
	const verb = "release"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return err
	}
	return releaseByScript(ctx, c, verb, key, token)
}

func releaseByScript(ctx context.Context, c redis.Conn, verb, key, token string) error {
	args := scriptRelease.Args(c, 2)
	args[2], args[3] = wire.Boxed(c, key), wire.Boxed(c, token)
	reply, err := wire.Eval(ctx, c, verb, key, scriptRelease, args)
	if err != nil {
		return err
	}
	_, err = wire.ReadHeld(verb, key, reply)
	return err
}

// leaveToExpire has the key keep others out for another ttl, if it carries the token, and nobody hold it: it carries token|left
// then. It returns what Release returns.
func leaveToExpire(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	const verb = "release"
	args := scriptLeave.Args(c, 3)
	args[2], args[3], args[4] = wire.Boxed(c, key), wire.Boxed(c, token), ttl.Milliseconds()
	reply, err := wire.Eval(ctx, c, verb, key, scriptLeave, args)
	if err != nil {
		return err
	}
	_, err = wire.ReadHeld(verb, key, reply)
	return err
}

// maxWatches bounds how often ReleaseTx begins again because the key was touched between WATCH and EXEC.
const maxWatches = 16

// ReleaseTx is [Release] without Lua: WATCH, GET and MULTI in one round trip, then DEL and EXEC in another. WATCH is
// what makes it a compare-and-delete; the MULTI and EXEC alone that an article proposes delete anybody's lock. If the
// key is touched in between (a renewal of the same lock does), it begins again, 16 times at the most.
//
// It returns what Release returns, but cannot see that a foreign string has no TTL. Redis 7.0 and
// older refuses it when out of memory, as everything inside MULTI; it does not refuse Release. The connection must not be
// inside MULTI, nor watch anything.
func ReleaseTx(ctx context.Context, c redis.Conn, key, token string) error {
	const verb = "release tx"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return err
	}
	args := wire.Args(c, 1)
	args[0] = wire.Boxed(c, key)
	for range maxWatches {
		if err := watchMine(ctx, c, verb, key, token, args); err != nil {
			return err
		}
		deleted, err := deleteWatched(ctx, c, verb, key, args)
		if deleted || err != nil {
			return err
		}
	}
	return fault.Of(ErrUnsupported, verb, key, "the key was changed at every try between WATCH and EXEC")
}

// watchMine watches the key and opens the transaction if the key carries the token; else it leaves the connection as
// it was. MULTI must be known to stand before DEL is sent: after a MULTI that was refused, DEL would be a bare DEL.
func watchMine(ctx context.Context, c redis.Conn, verb, key, token string, args []any) error {
	reqs := [...]wire.Request{{Cmd: "WATCH", Args: args}, {Cmd: "GET", Args: args}, {Cmd: "MULTI"}}
	var replies [3]any
	if _, err := wire.Pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		if refusal := firstError(verb, key, replies[:]); refusal != nil && errors.Is(err, ErrUnknown) {
			return refusal // nothing was deleted
		}
		return err
	}
	if err := wire.RefuseQueued(verb, key, replies[1]); err != nil {
		return err // the caller's own transaction, which is the caller's to end
	}
	err := firstError(verb, key, replies[:])
	if get, ok := replies[1].([]byte); err == nil && string(get) != token {
		err = fault.Gone(verb, key)
		if !ok && replies[1] != nil {
			err = fault.Unexpected(verb, key, replies[1])
		}
	}
	if err == nil {
		return nil
	}
	undo := "DISCARD" // unwatches, too
	if _, refused := replies[2].(redis.Error); refused {
		undo = "UNWATCH"
	}
	if _, undoErr := wire.Do(ctx, c, verb, key, undo); undoErr != nil {
		return spoilt(ctx, c, verb, key, undoErr) // its state is not known: it must not be used again
	}
	return err
}

// deleteWatched reports false if somebody touched the key since WATCH.
func deleteWatched(ctx context.Context, c redis.Conn, verb, key string, args []any) (bool, error) {
	reqs := [...]wire.Request{{Cmd: "DEL", Args: args}, {Cmd: "EXEC"}}
	var replies [2]any
	if _, err := wire.Pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		if refusal := firstError(verb, key, replies[:]); refusal != nil && errors.Is(err, ErrUnknown) {
			return false, refusal // a DEL that is refused makes EXEC fail
		}
		if !errors.Is(err, ErrUnknown) {
			err = spoilt(ctx, c, verb, key, err) // it is inside MULTI: it must not be used again
		}
		return false, err
	}
	if err := firstError(verb, key, replies[:]); err != nil {
		return false, err // a DEL that is refused makes EXEC fail: the first error tells why
	}
	list, ok := replies[1].([]any)
	switch {
	case replies[1] == nil:
		return false, nil
	case !ok || len(list) != 1:
		return false, fault.Unexpected(verb, key, replies[1])
	}
	if err := firstError(verb, key, list); err != nil {
		return false, err
	}
	_, err := wire.ReadHeld(verb, key, list[0])
	return true, err
}

// firstError is the first error reply among the replies of a pipeline or a transaction.
func firstError(verb, key string, replies []any) error {
	for _, r := range replies {
		if re, ok := r.(redis.Error); ok {
			return fault.Refused(verb, key, re)
		}
	}
	return nil
}

// ReleaseNative is [Release] by the server's own compare-and-delete: DELEX key IFEQ token of Redis 8.4, or DELIFEQ key token of
// Valkey 9. On a connection of a Locker or a Quorum it sends the one of them that the server is known to have, which it learns from
// the first reply. On any other connection, and the first time, it sends both in one pipeline: the one that the server does not
// know does no harm.
//
// It returns [ErrUnsupported] where the server knows neither, and else what Release returns. Where the key does not carry the token,
// Release is asked why, in another round trip: without the right to run a script, a foreign string without TTL is
// [ErrNotHeld], too.
func ReleaseNative(ctx context.Context, c redis.Conn, key, token string) error {
	const verb = "release native"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return err
	}
	known := wire.Known(c)
	if known.Delete == wire.DeleteByDELEX || known.Delete == wire.DeleteByDELIFEQ {
		if err := deleteBy(ctx, c, known.Delete, verb, key, token); !errors.Is(err, errNoCommand) {
			return err
		}
	}
	return deleteByEither(ctx, c, known, verb, key, token)
}

// releaseKnown is the release of a Locker that has none of its user's: by the native command that the server is known to have and
// the user to have the right to, else by the script. Where a command is not there any more, the script follows it, once.
func releaseKnown(ctx context.Context, c redis.Conn, key, token string) error {
	const verb = "release"
	known := wire.Known(c)
	switch known.Delete {
	case wire.DeleteUntold:
		return releaseTold(ctx, c, known, key, token)
	case wire.DeleteByScript:
		return Release(ctx, c, key, token)
	}
	err := deleteBy(ctx, c, known.Delete, verb, key, token)
	if re, isReply := fault.Reply(err); errors.Is(err, errNoCommand) || isReply && fault.Word(re) == "NOPERM" {
		known.LearnDelete(c, wire.DeleteByScript)
		return Release(ctx, c, key, token)
	}
	return err
}

// releaseTold is Release for the first time that a server is asked, with both native commands behind the script. They find nothing
// to delete, but for a server that did not know the script, and tell whether it knows one of them.
func releaseTold(ctx context.Context, c redis.Conn, known wire.Learned, key, token string) error {
	const verb = "release"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return err
	}
	args := scriptRelease.Args(c, 2)
	args[2], args[3] = wire.Boxed(c, key), wire.Boxed(c, token)
	delex, delifeq := deleteBoth([]any{4: nil}, args[2], args[3])
	reqs := [...]wire.Request{scriptRelease.Request(args), delex, delifeq}
	var replies [3]any
	_, err := wire.Pipeline(ctx, c, verb, key, reqs[:], replies[:])
	if err == nil {
		learnDelete(c, known, replies[1], replies[2])
	}
	for _, reply := range replies {
		if reply == int64(1) {
			return nil
		}
	}
	switch reply := replies[0].(type) {
	case int64:
		_, err = wire.ReadHeld(verb, key, reply) // also where the other replies have not come
	case redis.Error:
		if err == nil {
			err = fault.Refused(verb, key, reply)
		}
	default:
		if err == nil {
			err = wire.RefuseQueued(verb, key, reply)
		}
		if err == nil {
			err = fault.Unexpected(verb, key, reply)
		}
	}
	return err
}

// learnDelete notes what the replies to DELEX and DELIFEQ say of the server. A refusal that may pass says nothing.
func learnDelete(c redis.Conn, known wire.Learned, delex, delifeq any) {
	none := true
	for i, reply := range [...]any{delex, delifeq} {
		re, refused := reply.(redis.Error)
		switch {
		case !refused:
			if _, ok := reply.(int64); ok {
				known.LearnDelete(c, [...]wire.Delete{wire.DeleteByDELEX, wire.DeleteByDELIFEQ}[i])
			}
			return
		case !fault.UnknownCommand(re) && fault.Word(re) != "NOPERM":
			none = false
		}
	}
	if none {
		known.LearnDelete(c, wire.DeleteByScript)
	}
}

// deleteBoth makes the requests of both native commands; args has room for five.
func deleteBoth(args []any, key, token any) (delex, delifeq wire.Request) {
	args[0], args[1], args[2], args[3], args[4] = key, ifeq, token, key, token
	return wire.Request{Cmd: "DELEX", Args: args[:3:3]}, wire.Request{Cmd: "DELIFEQ", Args: args[3:]}
}

var ifeq any = "IFEQ"

// errNoCommand is the ErrUnsupported of a server without a native compare-and-delete.
var errNoCommand = fault.Said("the server knows neither DELEX nor DELIFEQ: use Release", ErrUnsupported)

// deleteBy releases by one of the two commands.
func deleteBy(ctx context.Context, c redis.Conn, by wire.Delete, verb, key, token string) error {
	args := wire.Args(c, 3)
	args[0], args[1], args[2] = wire.Boxed(c, key), ifeq, wire.Boxed(c, token)
	req := wire.Request{Cmd: "DELEX", Args: args}
	if by == wire.DeleteByDELIFEQ {
		args[1] = args[2]
		req = wire.Request{Cmd: "DELIFEQ", Args: args[:2]}
	}
	reply, err := wire.DoRequest(ctx, c, verb, key, req)
	if err != nil {
		if re, refused := err.(redis.Error); refused {
			return deleteRefused(verb, key, re)
		}
		return err
	}
	return deleted(ctx, c, verb, key, token, reply)
}

// deleteByEither releases by both commands, and takes the answer of the one that the server knows.
func deleteByEither(ctx context.Context, c redis.Conn, known wire.Learned, verb, key, token string) error {
	delex, delifeq := deleteBoth(wire.Args(c, 5), wire.Boxed(c, key), wire.Boxed(c, token))
	reqs := [...]wire.Request{delex, delifeq}
	var replies [2]any
	if _, err := wire.Pipeline(ctx, c, verb, key, reqs[:], replies[:]); err != nil {
		if _, answered := replies[0].(int64); !answered || !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	err := noCommand(verb, key)
	for i, reply := range replies {
		if re, refused := reply.(redis.Error); refused {
			if refusal := deleteRefused(verb, key, re); !errors.Is(refusal, errNoCommand) {
				err = refusal // a server with both may deny one of them
			}
			continue
		}
		if err := wire.RefuseQueued(verb, key, reply); err != nil {
			return err
		}
		known.LearnDelete(c, [...]wire.Delete{wire.DeleteByDELEX, wire.DeleteByDELIFEQ}[i])
		return deleted(ctx, c, verb, key, token, reply)
	}
	return err
}

func noCommand(verb, key string) error { return fault.Failed(verb, key, errNoCommand) }

func deleteRefused(verb, key string, re redis.Error) error {
	if fault.UnknownCommand(re) {
		return noCommand(verb, key)
	}
	return fault.Refused(verb, key, re)
}

// deleted reads the reply of a native compare-and-delete. Where that found another value, the script tells whether it is a lock.
// What it cannot tell is not held: the first reply says so.
func deleted(ctx context.Context, c redis.Conn, verb, key, token string, reply any) error {
	_, err := wire.ReadHeld(verb, key, reply)
	if errors.Is(err, ErrNotHeld) {
		if why := releaseByScript(ctx, c, verb, key, token); why == nil || errors.Is(why, ErrConflict) {
			return why
		}
	}
	return err
}
