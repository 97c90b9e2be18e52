-- KEYS lock, queue. Replies {waiters} if the lock is free; else its token, its PTTL and the waiters; 0 where the user may
-- not look at the queue, or it is none.
-- include lock
local waiters = redis.pcall('LLEN', KEYS[2])
if type(waiters) == 'table' then waiters = 0 end
if not v then return {waiters} end
return {v, redis.call('PTTL', KEYS[1]), waiters}
