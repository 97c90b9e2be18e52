-- KEYS lock. Replies nil: free; else the token and its PTTL.
-- include lock
if not v then return false end
return {v, redis.call('PTTL', KEYS[1])}
