package redigolock

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// What all verbs on a connection check before they send anything. How they send and read replies: see internal/wire/verb.go.

// NewToken returns a new token: unique, and unguessable, so that nobody can release a lock by chance or by
// imitation. It is a random (version 4) UUID of github.com/google/uuid, which panics if the system has no randomness.
//
// The articles that use one fixed value for everybody ("mylockvalue") make compare-and-delete worthless.
func NewToken() string { return uuid.NewString() }

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

// spoilt is the error of a connection that was left in the middle of a transaction: it must not be used again.
func spoilt(ctx context.Context, c redis.Conn, verb, key string, err error) error {
	if fault.NothingDone(err) {
		return fault.NoConnection(ctx, verb, key, err)
	}
	wire.CutLive(c)
	return fault.UnknownOutcome(ctx, verb, key, err)
}
