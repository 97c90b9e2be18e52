package redigolock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// fenceKept is how long a fencing counter outlives its last use. The server's clock is part of each number, so
// numbers keep rising after it is gone, and nothing grows for ever.
const fenceKept = 7 * 24 * time.Hour

// Fence returns a fencing number, higher than every one before for this key, to the current holder only. A holder
// that was stalled past its lease has a lower number than the one after it, so the resource can refuse it: [Guard].
// (After Martin Kleppmann, "How to do distributed locking", 2016.)
//
// The number is the higher of the last one plus 1 and the server's time in µs. So it rises even when the counter
// was lost to FLUSHALL, to eviction or to a failover, as long as the server's clock does not also step back. The
// counter is a key of its own in the lock's cluster slot, and expires 7 days after its last use.
//
// It returns [ErrNotHeld] if the key does not carry the token, [ErrConflict] if one of the two keys holds something
// else, [ErrUnknown] if no reply came (a number may have been skipped), [ErrInvalid], also for a key that has a '}'
// but no hash tag, or what the server refused it with.
func Fence(ctx context.Context, c redis.Conn, key, token string) (int64, error) {
	const verb = "fence"
	if err := checkTokenCall(ctx, c, verb, key, token); err != nil {
		return 0, err
	}
	counter, err := sibling(verb, key, names.Fence)
	if err != nil {
		return 0, err
	}
	args := scriptFence.Args(c, 4)
	args[2], args[3], args[4], args[5] = wire.Boxed(c, key), counter, wire.Boxed(c, token), fenceKept.Milliseconds()
	reply, err := wire.Eval(ctx, c, verb, key, scriptFence, args)
	if err != nil {
		return 0, err
	}
	if number, ok := reply.([]byte); ok {
		if n, err := strconv.ParseInt(string(number), 10, 64); err == nil && checkFence(verb, n) == nil {
			return n, nil
		}
		return 0, fault.Unexpected(verb, key, reply)
	}
	if _, err = wire.ReadHeld(verb, key, reply); err == nil {
		err = fault.Unexpected(verb, key, reply)
	}
	return 0, err
}

// Guard stands at the protected resource, which is on Redis too: it refuses a fencing number that is lower than one
// already seen at the key guard, with [ErrFenced], and remembers a higher one. The same number passes any number of
// times.
// The guard key has no TTL: it is part of the resource, and must be kept as long as the resource is.
//
// Between Guard and the write that follows, the caller can stall, and a newer holder can write: use [GuardDo], or
// compare in the write itself. Guard does not work inside MULTI, where a refusal does not stop EXEC: [ErrUnsupported].
// It returns [ErrConflict] if guard holds something else than a number, [ErrUnknown], [ErrInvalid] for a number below 1
// or from 2^53, or what the server refused it with.
func Guard(ctx context.Context, c redis.Conn, guard string, fence int64) error {
	const verb = "guard"
	if err := checkGuard(ctx, c, verb, guard, fence); err != nil {
		return err
	}
	args := scriptGuard.Args(c, 2)
	args[2], args[3] = guard, fence
	reply, err := wire.Eval(ctx, c, verb, guard, scriptGuard, args)
	if err != nil {
		return err
	}
	if seen, ok := reply.([]byte); ok {
		return fencedOff(verb, guard, fence, seen)
	}
	_, err = wire.ReadHeld(verb, guard, reply)
	return err
}

// GuardDo is [Guard] and the command `cmd key args…` in one script, so that no stall fits between the two. It
// returns the command's reply. Guard the reads too, with the same guard, or a stale holder reads what a newer one is
// changing. In a cluster guard and key must be in the same slot.
//
// The command must take its key as the first argument, and must not block; at most 1000 arguments. If the command
// fails, its error is returned, and the number counts as seen all the same. Otherwise it returns what Guard returns.
func GuardDo(ctx context.Context, c redis.Conn, guard string, fence int64, cmd, key string, args ...any) (any, error) {
	const verb = "guard do"
	if err := checkGuard(ctx, c, verb, guard, fence); err != nil {
		return nil, err
	}
	if err := checkGuarded(verb, cmd, key, len(args)); err != nil {
		return nil, err
	}
	all := append(make([]any, 0, 6+len(args)), scriptGuardDo.Digest, scriptGuardDo.Keys, guard, key, fence, cmd)
	reply, err := wire.Eval(ctx, c, verb, guard, scriptGuardDo, append(all, args...))
	if err != nil {
		return nil, err
	}
	switch reply := reply.(type) {
	case []byte:
		return nil, fencedOff(verb, guard, fence, reply)
	case []any:
		if len(reply) == 1 {
			return reply[0], nil
		}
	}
	return nil, fault.Unexpected(verb, guard, reply)
}

func fencedOff(verb, guard string, fence int64, reply []byte) error {
	seen, err := strconv.ParseInt(string(reply), 10, 64)
	if err != nil {
		return fault.Unexpected(verb, guard, reply)
	}
	return fault.Of(ErrFenced, verb, guard, fmt.Sprintf("%d is lower than %d, which was seen: the lock has a newer holder", fence, seen))
}

func checkGuard(ctx context.Context, c redis.Conn, verb, guard string, fence int64) error {
	if err := checkCall(ctx, c, verb, guard); err != nil {
		return err
	}
	return checkFence(verb, fence)
}

// maxGuarded keeps clear of the limit of Lua's unpack.
const maxGuarded = 1000

func checkGuarded(verb, cmd, key string, args int) error {
	if err := checkBytes(verb, "key", key); err != nil {
		return err
	}
	switch strings.ToUpper(cmd) {
	case "":
		return fault.Invalidf(verb, "the command is empty")
	case "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "WAIT", "WAITAOF", "XREAD", "XREADGROUP":
		return fault.Invalidf(verb, "%s may block, or does not take its key as the first argument", strings.ToUpper(cmd))
	}
	if args > maxGuarded {
		return fault.Invalidf(verb, "%d arguments, at most %d are allowed", args, maxGuarded)
	}
	return nil
}
