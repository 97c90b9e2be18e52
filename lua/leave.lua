-- KEYS lock; ARGV token, ttl in ms. Replies 1: the key carries token|left now, for ttl, be that more or less than was
-- left; or 0: not held. PEXPIRE comes first, because a SET as the first write is refused when the memory is full. The
-- value changes, so that whatever compares with the token leaves the key alone: a late renewal, a clean-up, an Attach.
-- include ttl
-- include mine
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then return set end
set = redis.pcall('SET', KEYS[1], ARGV[1] .. '|left', 'PX', ARGV[2])
if set.err then return set end
return 1
