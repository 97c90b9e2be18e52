-- entry reads the entry in ARGV[2].
-- include fair
local ttl, channel, token = parse(ARGV[2])
if not token then return redis.error_reply('ERR bad entry') end
