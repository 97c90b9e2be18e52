-- pump reads the lock into holder; queued is to be read by queue before pump or tell. pump hands a free lock to
-- the first entry whose channel is heard; mine, the caller's own entry, is told by the reply. SET comes before PUBLISH:
-- the message must not be there before the lock. A node of a cluster from which a slot is moving refuses keys that are missing, also in
-- the middle of a script: there the lock that is released keeps its key while it is handed on (keep), and tell does not ask for the
-- TTL of a free lock, and takes a queue that is empty by now as it is.
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
local function keep() return ARGV[1] == 'S' and queued > 0 end
local function free()
  local deleted = redis.pcall('DEL', KEYS[1])
  if type(deleted) == 'table' then return deleted end
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
  local left, kept = holder and redis.call('PTTL', KEYS[1]) or -2, queued > 0 and redis.pcall('PTTL', KEYS[2]) or -2
  if type(kept) == 'number' and kept ~= -2 and kept < left + 60000 then redis.call('PEXPIRE', KEYS[2], math.max(left, 0) + 120000) end
  return {was, said, holder, left, deaf}
end
