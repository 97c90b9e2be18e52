-- REL. ARGV token, and perhaps the entry of the next local waiter, with which it does as ENTER, also if the token is not
-- in the lock. Says granted or held for that entry, else none. DEL is the first write: the server does not refuse it when
-- it is out of memory, nor what follows it.
-- include fair
local was, ttl, token, _ = 0, nil, nil, nil
if ARGV[3] then
  ttl, _, token = parse(ARGV[3])
  if not token then return redis.error_reply('ERR bad entry') end
end
if holder == ARGV[2] then
  local deleted = redis.pcall('DEL', KEYS[1])
  if type(deleted) == 'table' then return deleted end
  was, holder = 1, false
end
local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)
if no then return no end
if token and holder ~= token then
  queued = redis.pcall('RPUSH', KEYS[2], ARGV[3])
  if type(queued) == 'table' then return queued end
end
return tell(was, not token and 0 or holder == token and 1 or 2)
