-- POKE. ARGV entry, ttl in ms. Asks what became of the entry. If it has the lock, its PTTL is raised to ttl. Says
-- granted, held (it is still queued), nosub (the same, but nobody hears its channel here), or gone. With a third key it
-- beats, if the entry is queued. That comes last, so that whatever the server refuses in it, the lock was handed on; was
-- is 1 then, and the refusal in the place of deaf.
-- include fairttl
-- include entry
-- include beat
local no = pump(ARGV[2])
if no then return no end
if holder == token then
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 then return redis.error_reply('CONFLICT the lock has lost its TTL') end
  if left < tonumber(ARGV[3]) then
    local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[3])
    if type(set) == 'table' then return set end
  end
  return tell(0, 1)
end
if not redis.call('LPOS', KEYS[2], ARGV[2]) then return tell(0, 4) end
local mute = KEYS[3] and beat()
if mute then deaf = mute end
return tell(mute and 1 or 0, heard(channel) and 2 or 3)
