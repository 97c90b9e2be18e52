-- KEYS guard; ARGV fence. Replies 1: at least as high as all before, and remembered. Else the number seen.
-- include guard
return 1
