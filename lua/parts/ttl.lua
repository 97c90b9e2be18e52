-- ttl refuses a ttl that PEXPIRE would refuse only after the key was written, or take as "delete".
if not string.find(ARGV[2], '^%d+$') or #ARGV[2] > 8 or tonumber(ARGV[2]) < 1 or tonumber(ARGV[2]) > 86400000 then
  return redis.error_reply('ERR ttl out of range')
end
