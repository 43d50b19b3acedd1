#!lua flags=allow-oom
-- Set fields of a hash, also in a full Redis: those of moves, which may make room there, and of marks.
-- KEYS[1]  the hash
-- ARGV     fields and values, alternately
-- Returns how many fields are new.
return redis.call('HSET', KEYS[1], unpack(ARGV))
