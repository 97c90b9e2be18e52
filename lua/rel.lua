-- REL. ARGV token, and perhaps the entry of the next local waiter, with which it does as ENTER, also if the token is not
-- in the lock. Says granted or held for that entry, else none. Where nobody waits DEL is the first write, else LPOP: the server
-- does not refuse them when it is out of memory, nor what follows them. Where somebody waits the lock's key is never missing: a slot
-- that is moving to another node of a cluster would refuse to set it again.
-- include fair
local was, ttl, token, _ = 0, nil, nil, nil
if ARGV[3] then
  ttl, _, token = parse(ARGV[3])
  if not token then return redis.error_reply('ERR bad entry') end
end
if holder == ARGV[2] then
  was, holder = 1, false
end
local no = was > 0 and queued == 0 and free() or pump(ARGV[3])
if not no and not holder then
  no = token and grant(token, ttl) or was > 0 and queued > 0 and not token and free()
end
if no then return no end
if token and holder ~= token then
  queued = redis.pcall('RPUSH', KEYS[2], ARGV[3])
  if type(queued) == 'table' then return queued end
end
return tell(was, not token and 0 or holder == token and 1 or 2)
