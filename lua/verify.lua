-- KEYS lock; ARGV token. Replies the PTTL, at least 1, or 0: not held.
-- include left
return math.max(left, 1)
