-- TRY. ARGV token, ttl in ms. Takes the lock if it is free and nobody waits. Says granted or held. Where nobody waits SET
-- is the first write: after an LPOP the server would not refuse it when it is out of memory.
-- include fairttl
-- include fair
-- include endless
local no = pump() or not holder and grant(ARGV[2], ARGV[3])
if no then return no end
return tell(0, holder == ARGV[2] and 1 or 2)
