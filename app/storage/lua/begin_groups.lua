#!lua flags=allow-oom
-- Begin a memory in several groups. Its home may be a Redis that is full.
-- KEYS[1]  the home's mark
-- KEYS[2]  the list of groups
-- ARGV[1]  the memory that it is from now on, unless another process has begun one
-- ARGV[2]  the home
-- ARGV[3..] fields of the list and their values, alternately
redis.call('HSETNX', KEYS[1], 'memory', ARGV[1])
redis.call('HSET', KEYS[1], 'name', ARGV[2], 'home', ARGV[2], 'generation', 1)
redis.call('HSET', KEYS[2], 'generation', 1, unpack(ARGV, 3))
