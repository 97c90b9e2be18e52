-- KEYS guard, key; ARGV fence, command, arguments. Replies the number seen, as a string, or a list of the
-- command's reply. The number counts as seen even if the command then fails.
-- include guard
local reply = redis.pcall(ARGV[2], KEYS[2], unpack(ARGV, 3))
if type(reply) == 'table' and reply.err then return reply end
return {reply}
