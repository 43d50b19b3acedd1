#!lua flags=allow-oom
-- Note moves, which may be what makes room in a full Redis.
-- KEYS[1]  hash of the moves
-- ARGV     agents and their moves, alternately
-- Returns how many of the agents had no move before.
return redis.call('HSET', KEYS[1], unpack(ARGV))
