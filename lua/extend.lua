-- KEYS locks; ARGV token, ttl in ms of each in turn. Replies the PTTL after it, or 0: not held; to more than one lock
-- a list of that, or of its error, for each. Never lowers a PTTL: a late, shorter extend would end the lease under its
-- holder.
local function extend(KEYS, ARGV)

-- include ttl
-- include left
local ttl = tonumber(ARGV[2])
if left >= ttl then return left end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then return set end
return ttl
end
if #KEYS == 1 then return extend(KEYS, ARGV) end
local lock, args, replies = {}, {}, {}
for i, key in ipairs(KEYS) do
  lock[1], args[1], args[2] = key, ARGV[2 * i - 1], ARGV[2 * i]
  replies[i] = extend(lock, args)
end
return replies
