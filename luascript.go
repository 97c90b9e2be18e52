package redigolock

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/digests"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// The Lua of the package: all but that of Locker.Fair, which is in luafair.go. There is none elsewhere. Rules that every
// script keeps:
//   - Redis does not roll a script back, so types, arguments and rights that can be checked are checked before the
//     first write.
//   - Calls that may be refused go through redis.pcall and their error is returned as it is, so that its first word
//     stays the first: Redis 6.2 puts a text of its own in front of an error that a script raises.
//   - Nothing is put into the text: keys and arguments travel as KEYS and ARGV.
//   - Own errors begin with "CONFLICT ".
const (
	// luaLock reads the lock: v is the value of KEYS[1], false if there is none.
	luaLock = `
local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' then return v end
`
	// luaMine goes on only if KEYS[1] carries ARGV[1]. Replies 0 for "not held"; an error for a string that no
	// lock left there, because it never expires.
	luaMine = `
local v = redis.pcall('GET', KEYS[1])
if v ~= ARGV[1] then
  if type(v) == 'table' then return v end
  if v and redis.call('PTTL', KEYS[1]) == -1 then return redis.error_reply('CONFLICT a string without TTL') end
  return 0
end
`
	// luaLeft goes on with the remaining TTL in left. A lock without TTL would be held for ever.
	luaLeft = luaMine + `
local left = redis.pcall('PTTL', KEYS[1])
if type(left) == 'table' then return left end
if left == -1 then return redis.error_reply('CONFLICT ` + fault.NoTTLText + `') end
`
	// luaTTL refuses a ttl that PEXPIRE would refuse only after the key was written, or take as "delete".
	luaTTL = `
if not string.find(ARGV[2], '^%d+$') or #ARGV[2] > 8 or tonumber(ARGV[2]) < 1 or tonumber(ARGV[2]) > 86400000 then
  return redis.error_reply('ERR ttl out of range')
end
`
)

var (
	// KEYS lock; ARGV token, ttl in ms. Replies 1: the lock carries the token now, new or as before. Else the
	// holder's token and its PTTL.
	scriptSetNX = newScript(1, "setNX", luaTTL+luaLock+`
if v then
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 then return redis.error_reply('CONFLICT a string without TTL') end
  if v == ARGV[1] then return 1 end
  return {v, left}
end
local won = redis.pcall('SETNX', KEYS[1], ARGV[1])
if type(won) == 'table' then return won end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then
  redis.call('DEL', KEYS[1])
  return set
end
return 1
`)

	// KEYS lock; ARGV token. Replies the PTTL, at least 1, or 0: not held.
	scriptVerify = newScript(1, "verify", luaLeft+`
return math.max(left, 1)
`)

	// KEYS locks; ARGV token, ttl in ms of each in turn. Replies the PTTL after it, or 0: not held; to more than one lock
	// a list of that, or of its error, for each. Never lowers a PTTL: a late, shorter extend would end the lease under its
	// holder.
	scriptExtend = newScript(1, "extend", `
local function extend(KEYS, ARGV)
`+luaTTL+luaLeft+`
local ttl = tonumber(ARGV[2])
if left >= ttl then return left end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then return set end
return ttl
end
if #KEYS == 1 then return extend(KEYS, ARGV) end
local lock, args, replies = {}, {}, {}
for i, key in ipairs(KEYS) do
  lock[1], args[1], args[2] = key, ARGV[2 * i - 1], ARGV[2 * i]
  replies[i] = extend(lock, args)
end
return replies
`)

	// KEYS lock; ARGV token. Replies 1: deleted, or 0: not held. One's own lock without TTL is deleted too.
	scriptRelease = newScript(1, "release", luaMine+`
return redis.pcall('DEL', KEYS[1])
`)

	// KEYS lock; ARGV token, ttl in ms. Replies 1: the key carries token|left now, for ttl, be that more or less than was
	// left; or 0: not held. PEXPIRE comes first, because a SET as the first write is refused when the memory is full. The
	// value changes, so that whatever compares with the token leaves the key alone: a late renewal, a clean-up, an Attach.
	scriptLeave = newScript(1, "leave", luaTTL+luaMine+`
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then return set end
set = redis.pcall('SET', KEYS[1], ARGV[1] .. '`+leftSuffix+`', 'PX', ARGV[2])
if set.err then return set end
return 1
`)

	// KEYS lock, counter; ARGV token, the counter's TTL in ms. Replies the fencing number as a string, for Lua's
	// numbers are doubles and a reply of a larger number would be cut; or 0: not held. The server's clock is part
	// of it, so that numbers keep rising when the counter was lost.
	scriptFence = newScript(2, "fence", luaLeft+`
local last = redis.pcall('GET', KEYS[2])
if type(last) == 'table' then return last end
if last and (#last > 16 or not string.find(last, '^%d+$')) then
  return redis.error_reply('CONFLICT the fencing counter is no number below 2^53')
end
local now = redis.call('TIME')
local n = math.max(tonumber(last or 0) + 1, now[1] * 1000000 + now[2])
if n > 9007199254740991 then return redis.error_reply('CONFLICT the fencing counter is out of range') end
local fence = string.format('%.0f', n)
local set = redis.pcall('SET', KEYS[2], fence, 'PX', ARGV[2])
if set.err then return set end
return fence
`)

	// KEYS guard; ARGV fence. Replies 1: at least as high as all before, and remembered. Else the number seen.
	scriptGuard = newScript(1, "guard", luaGuard+`
return 1
`)

	// KEYS guard, key; ARGV fence, command, arguments. Replies the number seen, as a string, or a list of the
	// command's reply. The number counts as seen even if the command then fails.
	scriptGuardDo = newScript(2, "guardDo", luaGuard+`
local reply = redis.pcall(ARGV[2], KEYS[2], unpack(ARGV, 3))
if type(reply) == 'table' and reply.err then return reply end
return {reply}
`)

	// KEYS lock. Replies nil: free; else the token and its PTTL.
	scriptInspect = newScript(1, "inspect", luaLock+`
if not v then return false end
return {v, redis.call('PTTL', KEYS[1])}
`)

	// KEYS lock, queue. Replies {waiters} if the lock is free; else its token, its PTTL and the waiters; 0 where the user may
	// not look at the queue, or it is none.
	scriptInspectFair = newScript(2, "inspectFair", luaLock+`
local waiters = redis.pcall('LLEN', KEYS[2])
if type(waiters) == 'table' then waiters = 0 end
if not v then return {waiters} end
return {v, redis.call('PTTL', KEYS[1]), waiters}
`)
)

// luaGuard goes on only if ARGV[1] is no lower than the number in KEYS[1], which it raises. Both are below 2^53.
const luaGuard = luaLock + `
if v and (#v > 16 or not string.find(v, '^%d+$')) then
  return redis.error_reply('CONFLICT the guard is no number below 2^53')
end
if v and tonumber(v) > tonumber(ARGV[1]) then return v end
if v ~= ARGV[1] then
  local set = redis.pcall('SET', KEYS[1], ARGV[1])
  if set.err then return set end
end
`

// scriptTexts are the texts of all scripts by their names, which TestDigests compares with their digests.
var scriptTexts = make(map[string]string)

// scriptDigests are constants: to compute SHA-1 at start would panic under GODEBUG=fips140=only.
var scriptDigests = digests.Scripts

func newScript(keys int, name, src string) *wire.Script {
	src = strings.TrimSpace(src)
	scriptTexts[name] = src
	return &wire.Script{Text: src, Digest: scriptDigests[name], Keys: keys}
}

// SetNXScript acquires a lock by a script of SETNX and PEXPIRE, the second approach of the articles: key = token
// for ttl, if the key is free. It is one round trip, by EVALSHA. Unlike the articles' script it refuses a bad ttl
// before it writes, and deletes the key again if PEXPIRE is refused, so that no lock is left without TTL; and it tells
// who holds the lock.
//
// It returns nil if the key carries the token now, newly or from an earlier call, so it is re-entrant for a fixed token (see
// [SetNXVerified]); a *[HeldError] with the holder and
// what is left of its TTL; [ErrConflict] if the key holds another type or a string without TTL; [ErrUnknown] if no
// reply came; [ErrInvalid]; or what the server refused it with. A user of the server needs the right to SETNX,
// PEXPIRE, GET, PTTL and DEL, also inside scripts.
func SetNXScript(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	const verb = "setnx script"
	if err := checkTTLCall(ctx, c, verb, key, token, ttl); err != nil {
		return err
	}
	args := scriptSetNX.Args(c, 3)
	args[2], args[3], args[4] = wire.Boxed(c, key), wire.Boxed(c, token), wire.Millis(c, ttl)
	reply, err := eval(ctx, c, verb, key, scriptSetNX, args)
	if err != nil {
		return err
	}
	if reply == any(int64(1)) {
		return nil
	}
	if holder, left, ok := tokenAndTTL(reply); ok {
		return &HeldError{Key: key, Holder: holderOf(holder), TTL: max(left, 0)}
	}
	return maybeSet(unexpected(verb, key, reply))
}

// tokenAndTTL reads a reply of token and PTTL.
func tokenAndTTL(reply any) (token string, left time.Duration, ok bool) {
	list, _ := reply.([]any)
	if len(list) < 2 {
		return "", 0, false
	}
	value, isString := list[0].([]byte)
	ms, isNumber := list[1].(int64)
	return string(value), fromMillis(ms), isString && isNumber
}

// fromMillis is the duration of a PTTL, which can be longer than a Duration: then the longest.
func fromMillis(ms int64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// reply0 reads the reply of a script that says 0 for "not held" and a positive number else.
func reply0(verb, key string, reply any) (int64, error) {
	switch n, ok := reply.(int64); {
	case !ok || n < 0:
		return 0, unexpected(verb, key, reply)
	case n == 0:
		return 0, notHeld(verb, key)
	default:
		return n, nil
	}
}
