#!lua flags=allow-oom
-- Enter the group that an agent has moved to, and tell every process.
-- KEYS[1]  hash of the agents' places
-- KEYS[2]  hash of the moves
-- KEYS[3]  number of moves made
-- ARGV[1]  the agent
-- ARGV[2]  the group
-- ARGV[3]  the move as it is now
-- ARGV[4]  the channel
-- ARGV[5]  what to say there
-- Returns how many moves were made.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return redis.call('INCR', KEYS[3])
