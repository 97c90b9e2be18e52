-- KEYS lock; ARGV token, ttl in ms. Replies 1: the lock carries the token now, new or as before. Else the
-- holder's token and its PTTL.
-- include ttl
-- include lock
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
