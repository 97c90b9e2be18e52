package redigolock

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// What every verb checks before it sends anything.

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
	return checkBytes(verb, "key", key)
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

// The purposes of siblings.
const (
	fenceName = "redigolock-fence"
	// queueName makes the key of a fair queue. The number is that of the entries' format: versions of this package that do not
	// read each other's entries must not share a queue.
	queueName = "redigolock-q1"
)

// sibling returns the key that goes with a lock's key for the purpose s, in the same cluster slot. No two pairs of
// key and purpose share a sibling: the first form begins with '{', the second never does.
func sibling(verb, key, s string) (string, error) {
	if hasHashTag(key) {
		return s + ":" + key, nil
	}
	if strings.Contains(key, "}") {
		return "", fmt.Errorf("%w: %s: key %s has a '}' but no hash tag, so no other key can share its cluster slot",
			ErrInvalid, verb, fault.Quote(key))
	}
	return "{" + key + "}:" + s, nil
}

// hasHashTag reports whether Redis Cluster hashes only a part of key: what stands between the first '{' and the
// first '}' after it, if that is not empty.
func hasHashTag(key string) bool {
	_, tail, ok := strings.Cut(key, "{")
	return ok && strings.Index(tail, "}") > 0
}
