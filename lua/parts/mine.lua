-- mine goes on only if KEYS[1] carries ARGV[1]. Replies 0 for "not held"; an error for a string that no
-- lock left there, because it never expires.
local v = redis.pcall('GET', KEYS[1])
if v ~= ARGV[1] then
  if type(v) == 'table' then return v end
  if v and redis.call('PTTL', KEYS[1]) == -1 then return redis.error_reply('CONFLICT a string without TTL') end
  return 0
end
