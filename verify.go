package redigolock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Verify returns what is left of the lock's TTL, at least 1 ms, if the key carries the token. It is one script, so
// token and TTL belong together.
//
// It returns [ErrNotHeld] if the key does not carry the token, [ErrConflict] if it holds another type or a string
// without TTL (one's own token without TTL, too: such a lock would never end), [ErrUnknown] if no reply came,
// [ErrInvalid], or what the server refused it with. That a lock is held is true for the moment of the answer only;
// EXISTS, as one of the articles has it, proves not even that: it says that somebody holds the lock, not who.
func Verify(ctx context.Context, c redis.Conn, key, token string) (time.Duration, error) {
	const verb = "verify"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return 0, err
	}
	args := scriptVerify.room(c, 2)
	args[2], args[3] = boxed(c, key), boxed(c, token)
	reply, err := scriptVerify.run(ctx, c, verb, key, args)
	if err != nil {
		return 0, err
	}
	left, err := reply0(verb, key, reply)
	return time.Duration(left) * time.Millisecond, err
}

// Info is what a lock's key shows to an operator. It is the only place that shows a whole token, which is all that
// is needed to release the lock: keep it out of logs.
type Info struct {
	Key     string
	Token   string        // "" if the lock is free
	Owner   string        // the Owner of the Locker that made the token, "" if none or not ours
	Held    bool          // the key carries a token and has a TTL
	TTL     time.Duration // what is left of it
	Waiters int           // processes queued for the lock; always 0 for a lock that is not fair
}

// Inspect tells who holds a lock. A free lock is no error. It returns [ErrConflict] if the key holds another type, or
// a string without TTL, which is still shown in Info; [ErrUnknown], [ErrInvalid], or what the server refused it with.
func Inspect(ctx context.Context, c redis.Conn, key string) (Info, error) {
	const verb = "inspect"
	info := Info{Key: key}
	if err := checkCall(ctx, c, verb, key); err != nil {
		return info, err
	}
	args := scriptInspect.room(c, 1)
	args[2] = boxed(c, key)
	reply, err := scriptInspect.run(ctx, c, verb, key, args)
	if err != nil || reply == nil {
		return info, err
	}
	var ok bool
	if info.Token, info.TTL, ok = tokenAndTTL(reply); !ok {
		return Info{Key: key}, unexpected(verb, key, reply)
	}
	info.Owner = ownerOf(info.Token)
	if info.TTL < 0 {
		info.TTL = 0
		return info, is(ErrConflict, verb, key, "a string without TTL")
	}
	info.Held = true
	return info, nil
}
