#!lua flags=allow-oom
-- Change the list of groups, also in a full Redis: a new group may be what makes room.
-- KEYS[1]  the list
-- KEYS[2]  number of changes that running services look for
-- ARGV     the command that changes the list, and what follows the key in it
-- Returns how many changes there were.
redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
redis.call('HINCRBY', KEYS[1], 'generation', 1)
return redis.call('INCR', KEYS[2])
