package redigolock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/wire"
)

// Extend makes the lock last at least ttl from now, if the key carries the token. It never creates the key, and
// never lowers what is left: with a shorter ttl than is left it changes nothing.
//
// It returns [ErrNotHeld] if the key does not carry the token, [ErrConflict] if it holds another type or a string
// without TTL, [ErrUnknown] if no reply came, [ErrInvalid], or what the server refused it with.
func Extend(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	_, err := extend(ctx, c, key, token, ttl)
	return err
}

// extend returns what is left of the TTL after it.
func extend(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) (time.Duration, error) {
	const verb = "extend"
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return 0, err
	}
	args := scriptExtend.Args(c, 3)
	args[2], args[3], args[4] = wire.Boxed(c, key), wire.Boxed(c, token), wire.Millis(c, ttl)
	reply, err := wire.Eval(ctx, c, verb, key, scriptExtend, args)
	if err != nil {
		return 0, err
	}
	left, err := wire.ReadHeld(verb, key, reply)
	return wire.FromMillis(left), err
}
