-- QUIT. ARGV entry. Takes it out of the queue, and its token out of the lock. Says none. It works also while the lock's
-- key holds something that is no lock.
-- include pump
-- include queue
local _, _, token = parse(ARGV[2])
if not token then return redis.error_reply('ERR bad entry') end
local was = redis.pcall('LREM', KEYS[2], 0, ARGV[2])
if type(was) == 'table' then return was end
if type(holder) == 'table' then return {was, 0, false, -2, false} end
queued = queued - was
local stays = false
if holder == token then
  was, stays, holder = 1, keep(), false
  local no = not stays and free()
  if no then return no end
end
local no = pump() or stays and not holder and free()
if no then return no end
return tell(was, 0)
