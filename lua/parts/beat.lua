-- beat notes in KEYS[3], a hash, that the Locker of the entry in ARGV[2] lives. The hash has a tick, in the field "", and for
-- each entry the tick in which it last beat. A tick ends when one entry beats twice in it, which takes a living Locker a
-- while of its own clock: a server that stalls or restarts drops nobody. Then what was silent for more than four ticks
-- leaves the queue, and an entry that the hash does not know counts as heard in the tick that ends: else newcomers, whose
-- first beat would be the second in the tick that begins, would drive the clock. It returns what the server refuses, or nil.
local function beat()
  local at = redis.pcall('HMGET', KEYS[3], '', ARGV[2])
  if at.err then return at.err end
  local tick, isNew = tonumber(at[1]) or 1, not at[1]
  if tonumber(at[2]) == tick then
    tick, isNew = tick + 1, true
    local all, beaten, kept = redis.pcall('HGETALL', KEYS[3]), {}, {}
    if all.err then return all.err end
    local entries = redis.pcall('LRANGE', KEYS[2], 0, -1)
    if entries.err then return entries.err end
    for i = 1, #all, 2 do beaten[all[i]] = tonumber(all[i + 1]) end
    for _, e in ipairs(entries) do
      local last = beaten[e] or tick - 1
      if tick - last <= 4 then
        kept[#kept + 1], kept[#kept + 2] = e, last
      else
        local dropped = redis.pcall('LREM', KEYS[2], 1, e)
        if type(dropped) == 'table' then return dropped.err end
      end
    end
    local forgotten = redis.pcall('DEL', KEYS[3])
    if type(forgotten) == 'table' then return forgotten.err end
    for i = 1, #kept, 1000 do
      local set = redis.pcall('HSET', KEYS[3], unpack(kept, i, math.min(i + 999, #kept)))
      if type(set) == 'table' then return set.err end
    end
  end
  local set = redis.pcall('HSET', KEYS[3], '', tick, ARGV[2], tick)
  if type(set) == 'table' then return set.err end
  if isNew then
    local expires = redis.pcall('PEXPIRE', KEYS[3], 60000)
    if type(expires) == 'table' then return expires.err end
  end
end
