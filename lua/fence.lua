-- KEYS lock, counter; ARGV token, the counter's TTL in ms. Replies the fencing number as a string, for Lua's
-- numbers are doubles and a reply of a larger number would be cut; or 0: not held. The server's clock is part
-- of it, so that numbers keep rising when the counter was lost.
-- include left
local last = redis.pcall('GET', KEYS[2])
if type(last) == 'table' then return last end
if last and (#last > 16 or not string.find(last, '^%d+$')) then
  return redis.error_reply('CONFLICT the fencing counter is no number below 2^53')
end
local now = redis.call('TIME')
local n = math.max(tonumber(last or 0) + 1, now[1] * 1000000 + now[2])
if n > 9007199254740991 then return redis.error_reply('CONFLICT the fencing counter is out of range') end
local fence = string.format('%.0f', n)
local set = redis.pcall('SET', KEYS[2], fence, 'PX', ARGV[2])
if set.err then return set end
return fence
