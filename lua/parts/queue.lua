-- queue reads how many are queued, and tries the right to ask who hears a channel, before the first write.
queued = redis.pcall('LLEN', KEYS[2])
if type(queued) == 'table' then return queued end
local right = redis.pcall('PUBSUB', numsub)
if right.err then return right end
