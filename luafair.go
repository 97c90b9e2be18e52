package redigolock

import (
	"strings"

	"github.com/redigolock/redigolock/internal/fault"
)

// The scripts of Locker.Fair. Besides the rules of luascript.go:
//   - KEYS is lock, queue; ARGV[1] is "S" where messages are sharded (Redis Cluster), "" elsewhere.
//   - After each of them the lock is held, or the queue is empty. So each that may find the lock free pumps, before it may
//     fail to queue an entry of its own. (Not so if the server denies LPOP, SET or PUBSUB after DEL: who has rights to wait
//     and none to hand on. The next POKE then tells of it.)
//   - None lowers a PTTL, creates the lock for an extend, or removes another's token.
//   - All but EXTEND reply {was, said, holder, PTTL, deaf}: was is 1 if the lock or an entry of one's own was removed; said
//     is one of the numbers of fairsend.go; holder and PTTL are the lock's, at the end; deaf is the error of a PUBLISH that
//     was refused: the lock was handed over, and nobody was told.
//   - An entry of the queue is "<ttl ms> <len(channel)> <channel> <token>", since channels and tokens may hold any byte.
const (
	// luaPump reads the lock into holder; queued is to be read by luaQueue before pump or tell. pump hands a free lock to
	// the first entry whose channel is heard; mine, the caller's own entry, is told by the reply. SET comes before PUBLISH:
	// the message must not be there before the lock.
	luaPump = `
local numsub, publish = 'NUMSUB', 'PUBLISH'
if ARGV[1] == 'S' then numsub, publish = 'SHARDNUMSUB', 'SPUBLISH' end
local holder = redis.pcall('GET', KEYS[1])
local queued, deaf = 0, false
local function parse(e)
  local _, at, ttl, n = string.find(e, '^(%d+) (%d+) ')
  if not at or #ttl > 8 or #n > 6 then return nil end
  ttl, n = tonumber(ttl), tonumber(n)
  if ttl < 1 or ttl > 86400000 or n < 1 or #e < at + n + 2 or string.sub(e, at + n + 1, at + n + 1) ~= ' ' then return nil end
  return ttl, string.sub(e, at + 1, at + n), string.sub(e, at + n + 2)
end
local function heard(channel)
  return redis.call('PUBSUB', numsub, channel)[2] > 0
end
local function grant(token, ttl)
  local set = redis.pcall('SET', KEYS[1], token, 'PX', ttl)
  if set.err then return set end
  holder = token
end
local function pump(mine)
  while queued > 0 and not holder do
    local e = redis.pcall('LPOP', KEYS[2])
    if type(e) == 'table' then return e end
    if not e then return end
    local ttl, channel, token = parse(e)
    if token and (e == mine or heard(channel)) then
      local no = grant(token, ttl)
      if no then return no end
      if e ~= mine then
        local told = redis.pcall(publish, channel, token)
        if type(told) == 'table' then deaf = told.err end
      end
    end
  end
end
local function tell(was, said)
  local left, kept = redis.call('PTTL', KEYS[1]), queued > 0 and redis.call('PTTL', KEYS[2]) or -2
  if kept ~= -2 and kept < left + 60000 then redis.call('PEXPIRE', KEYS[2], math.max(left, 0) + 120000) end
  return {was, said, holder, left, deaf}
end
`
	// luaQueue reads how many are queued, and tries the right to ask who hears a channel, before the first write.
	luaQueue = `
queued = redis.pcall('LLEN', KEYS[2])
if type(queued) == 'table' then return queued end
local right = redis.pcall('PUBSUB', numsub)
if right.err then return right end
`
	// luaFair reads the lock and the queue, and refuses other types and lacking rights before the first write.
	luaFair = luaPump + `
if type(holder) == 'table' then return holder end
` + luaQueue
	// luaEndless refuses to wait behind a lock that never ends.
	luaEndless = `
if holder and redis.call('PTTL', KEYS[1]) == -1 then return redis.error_reply('CONFLICT a string without TTL') end
`
	// luaEntry reads the entry in ARGV[2].
	luaEntry = luaFair + `
local ttl, channel, token = parse(ARGV[2])
if not token then return redis.error_reply('ERR bad entry') end
`
)

// luaFairTTL is luaTTL for ARGV[3].
var luaFairTTL = strings.ReplaceAll(luaTTL, "ARGV[2]", "ARGV[3]")

var (
	// TRY. ARGV token, ttl in ms. Takes the lock if it is free and nobody waits. Says granted or held. Where nobody waits SET
	// is the first write: after an LPOP the server would not refuse it when it is out of memory.
	scriptTry = newScript(2, "try", luaFairTTL+luaFair+luaEndless+`
local no = pump() or not holder and grant(ARGV[2], ARGV[3])
if no then return no end
return tell(0, holder == ARGV[2] and 1 or 2)
`)

	// ENTER. ARGV entry. Queues it, once per token, unless the lock is free and nobody waits. Says granted, held (it is
	// queued), or nosub: it was not queued, for nobody hears its channel here.
	scriptEnter = newScript(2, "enter", luaEntry+luaEndless+`
if not heard(channel) then
  local no = pump()
  if no then return no end
  return tell(0, 3)
end
local no = pump(ARGV[2]) or not holder and grant(token, ttl)
if no then return no end
if holder ~= token then
  queued = redis.pcall('RPUSH', KEYS[2], ARGV[2])
  if type(queued) == 'table' then return queued end
end
return tell(0, holder == token and 1 or 2)
`)

	// REL. ARGV token, and perhaps the entry of the next local waiter, with which it does as ENTER, also if the token is not
	// in the lock. Says granted or held for that entry, else none. DEL is the first write: the server does not refuse it when
	// it is out of memory, nor what follows it.
	scriptRel = newScript(2, "rel", luaFair+`
local was, ttl, token, _ = 0, nil, nil, nil
if ARGV[3] then
  ttl, _, token = parse(ARGV[3])
  if not token then return redis.error_reply('ERR bad entry') end
end
if holder == ARGV[2] then
  local deleted = redis.pcall('DEL', KEYS[1])
  if type(deleted) == 'table' then return deleted end
  was, holder = 1, false
end
local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)
if no then return no end
if token and holder ~= token then
  queued = redis.pcall('RPUSH', KEYS[2], ARGV[3])
  if type(queued) == 'table' then return queued end
end
return tell(was, not token and 0 or holder == token and 1 or 2)
`)

	// POKE. ARGV entry, ttl in ms. Asks what became of the entry. If it has the lock, its PTTL is raised to ttl. Says
	// granted, held (it is still queued), nosub (the same, but nobody hears its channel here), or gone.
	scriptPoke = newScript(2, "poke", luaFairTTL+luaEntry+`
local no = pump(ARGV[2])
if no then return no end
if holder == token then
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 then return redis.error_reply('CONFLICT `+fault.NoTTLText+`') end
  if left < tonumber(ARGV[3]) then
    local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[3])
    if type(set) == 'table' then return set end
  end
  return tell(0, 1)
end
if not redis.call('LPOS', KEYS[2], ARGV[2]) then return tell(0, 4) end
return tell(0, heard(channel) and 2 or 3)
`)

	// QUIT. ARGV entry. Takes it out of the queue, and its token out of the lock. Says none. It works also while the lock's
	// key holds something that is no lock.
	scriptQuit = newScript(2, "quit", luaPump+luaQueue+`
local _, _, token = parse(ARGV[2])
if not token then return redis.error_reply('ERR bad entry') end
local was = redis.pcall('LREM', KEYS[2], 0, ARGV[2])
if type(was) == 'table' then return was end
if type(holder) == 'table' then return {was, 0, false, -2, false} end
if holder == token then
  redis.call('DEL', KEYS[1])
  was, holder = 1, false
end
local no = pump()
if no then return no end
return tell(was, 0)
`)

	// EXTEND. ARGV token, ttl in ms. As scriptExtend: replies the PTTL after it, or 0: not held. But a lock that it finds free
	// is handed on.
	scriptFairExtend = newScript(2, "fairExtend", luaFairTTL+luaPump+`
if type(holder) == 'table' then return holder end
if not holder then
`+luaQueue+`
  local no = pump()
  if no then return no end
  tell(0, 0)
  return 0
end
local left = redis.call('PTTL', KEYS[1])
if holder ~= ARGV[2] then
  if left == -1 then return redis.error_reply('CONFLICT a string without TTL') end
  return 0
end
if left == -1 then return redis.error_reply('CONFLICT `+fault.NoTTLText+`') end
local ttl = tonumber(ARGV[3])
if left >= ttl then return left end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[3])
if type(set) == 'table' then return set end
return ttl
`)
)
