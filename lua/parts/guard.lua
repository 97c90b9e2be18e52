-- guard goes on only if ARGV[1] is no lower than the number in KEYS[1], which it raises. Both are below 2^53.
-- include lock
if v and (#v > 16 or not string.find(v, '^%d+$')) then
  return redis.error_reply('CONFLICT the guard is no number below 2^53')
end
if v and tonumber(v) > tonumber(ARGV[1]) then return v end
if v ~= ARGV[1] then
  local set = redis.pcall('SET', KEYS[1], ARGV[1])
  if set.err then return set end
end
