-- EXTEND. ARGV token, ttl in ms. As extend: replies the PTTL after it, or 0: not held. But a lock that it finds free
-- is handed on.
-- include fairttl
-- include pump
if type(holder) == 'table' then return holder end
if not holder then

-- include queue
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
if left == -1 then return redis.error_reply('CONFLICT the lock has lost its TTL') end
local ttl = tonumber(ARGV[3])
if left >= ttl then return left end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[3])
if type(set) == 'table' then return set end
return ttl
