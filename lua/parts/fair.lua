-- fair reads the lock and the queue, and refuses other types and lacking rights before the first write.
-- include pump
if type(holder) == 'table' then return holder end

-- include queue
