-- REL. ARGV token, and perhaps the entry of the next local waiter, with which it does as ENTER, also if the token is not
-- in the lock. Says granted or held for that entry, else none. DEL is the first write: the server does not refuse it when
-- it is out of memory, nor what follows it. But not where somebody waits in a cluster (stays): there it is LPOP.
-- include fair
local was, ttl, token, _ = 0, nil, nil, nil
if ARGV[3] then
  ttl, _, token = parse(ARGV[3])
  if not token then return redis.error_reply('ERR bad entry') end
end
local stays = false
if holder == ARGV[2] then
  was, stays, holder = 1, keep(), false
  local no = not stays and free()
  if no then return no end
end
local no = pump(ARGV[3]) or not holder and (token and grant(token, ttl) or not token and stays and free())
if no then return no end
if token and holder ~= token then
  queued = redis.pcall('RPUSH', KEYS[2], ARGV[3])
  if type(queued) == 'table' then return queued end
end
return tell(was, not token and 0 or holder == token and 1 or 2)
