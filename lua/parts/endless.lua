-- endless refuses to wait behind a lock that never ends.
if holder and redis.call('PTTL', KEYS[1]) == -1 then return redis.error_reply('CONFLICT a string without TTL') end
