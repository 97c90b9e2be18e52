-- ENTER. ARGV entry. Queues it, once per token, unless the lock is free and nobody waits. Says granted, held (it is
-- queued), or nosub: it was not queued, for nobody hears its channel here.
-- include entry
-- include endless
if not heard(channel) then
  local no = pump()
  if no then return no end
  return tell(0, 3)
end
local no = pump(ARGV[2]) or not holder and grant(token, ttl)
if no then return no end
if holder ~= token then
  queued = redis.pcall('RPUSH', KEYS[2], ARGV[2])
  if type(queued) == 'table' then return queued end
end
return tell(0, holder == token and 1 or 2)
