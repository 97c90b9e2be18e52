-- As ttl, for ARGV[3].
if not string.find(ARGV[3], '^%d+$') or #ARGV[3] > 8 or tonumber(ARGV[3]) < 1 or tonumber(ARGV[3]) > 86400000 then
  return redis.error_reply('ERR ttl out of range')
end
