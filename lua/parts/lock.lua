-- lock reads the lock: v is the value of KEYS[1], false if there is none.
local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' then return v end
