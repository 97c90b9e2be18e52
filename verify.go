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

// Verify returns what is left of the lock's TTL, at least 1 ms, if the key carries the token. It is one script, so
// token and TTL belong together.
//
// It returns [ErrNotHeld] if the key does not carry the token, [ErrConflict] if it holds another type or a string
// without TTL (also where that string is this token: such a lock would never end), [ErrUnknown] if no reply came,
// [ErrInvalid], or what the server refused it with. That a lock is held is true for the moment of the answer only;
// EXISTS, as one of the articles has it, proves not even that: it says that somebody holds the lock, not who.
func Verify(ctx context.Context, c redis.Conn, key, token string) (time.Duration, error) {
	const verb = "verify"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return 0, err
	}
	args := scriptVerify.Args(c, 2)
	args[2], args[3] = wire.Boxed(c, key), wire.Boxed(c, token)
	reply, err := wire.Eval(ctx, c, verb, key, scriptVerify, args)
	if err != nil {
		return 0, err
	}
	left, err := wire.ReadHeld(verb, key, reply)
	return wire.FromMillis(left), err
}

// Info is what a lock's key shows to an operator. It is the only place that shows a whole token, which is all that
// is needed to release the lock: keep it out of logs.
type Info struct {
	Key     string
	Token   string        // "" if the lock is free
	Owner   string        // the Owner of the Locker that made the token, "" if it has none, or the token is not of this library
	Held    bool          // the key carries a token and has a TTL
	TTL     time.Duration // what is left of it
	Waiters int           // Lockers queued for the lock, each with one or more waiters; 0 for a lock that is not fair
}

// Inspect tells who holds a lock, and how many wait for it in a fair queue. A free lock is no error. Where the user has no
// right to the queue's key, it asks once more without it, and Waiters is 0.
//
// It returns [ErrConflict] if the key holds another type, or a string without TTL, which is still shown in Info;
// [ErrUnknown], [ErrInvalid], or what the server refused it with.
func Inspect(ctx context.Context, c redis.Conn, key string) (Info, error) {
	const verb = "inspect"
	if err := checkCall(ctx, c, verb, key); err != nil {
		return Info{Key: key}, err
	}
	queue, err := sibling(verb, key, names.Queue)
	if err != nil { // there can be no queue
		return inspectLock(ctx, c, key)
	}
	args := scriptInspectFair.Args(c, 2)
	args[2], args[3] = wire.Boxed(c, key), queue
	reply, err := wire.Eval(ctx, c, verb, key, scriptInspectFair, args)
	var re redis.Error
	switch {
	case errors.As(err, &re) && fault.Word(re) == "NOPERM":
		return inspectLock(ctx, c, key)
	case err != nil:
		return Info{Key: key}, err
	}
	list, _ := reply.([]any)
	if len(list) != 1 && len(list) != 3 {
		return Info{Key: key}, fault.Unexpected(verb, key, reply)
	}
	waiters, ok := list[len(list)-1].(int64)
	if !ok {
		return Info{Key: key}, fault.Unexpected(verb, key, reply)
	}
	if len(list) == 1 {
		return Info{Key: key, Waiters: int(waiters)}, nil
	}
	info, err := infoOf(key, reply)
	info.Waiters = int(waiters)
	return info, err
}

// inspectLock is Inspect without the queue.
func inspectLock(ctx context.Context, c redis.Conn, key string) (Info, error) {
	const verb = "inspect"
	args := scriptInspect.Args(c, 1)
	args[2] = wire.Boxed(c, key)
	reply, err := wire.Eval(ctx, c, verb, key, scriptInspect, args)
	if err != nil || reply == nil {
		return Info{Key: key}, err
	}
	return infoOf(key, reply)
}

// infoOf reads a reply of token and PTTL.
func infoOf(key string, reply any) (info Info, err error) {
	const verb = "inspect"
	info.Key = key
	var ok bool
	if info.Token, info.TTL, ok = wire.ReadTokenAndTTL(reply); !ok {
		return Info{Key: key}, fault.Unexpected(verb, key, reply)
	}
	info.Owner = names.Owner(info.Token)
	if info.TTL < 0 {
		info.TTL = 0
		return info, fault.Of(ErrConflict, verb, key, "a string without TTL")
	}
	info.Held = true
	return info, nil
}
