-- left goes on with the remaining TTL in left. A lock without TTL would be held for ever.
-- include mine
local left = redis.pcall('PTTL', KEYS[1])
if type(left) == 'table' then return left end
if left == -1 then return redis.error_reply('CONFLICT the lock has lost its TTL') end
