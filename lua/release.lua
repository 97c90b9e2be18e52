-- KEYS lock; ARGV token. Replies 1: deleted, or 0: not held. One's own lock without TTL is deleted too.
-- include mine
return redis.pcall('DEL', KEYS[1])
