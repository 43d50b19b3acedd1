#!lua
-- Keep a distance that was learned from an agent's memories, while the agent has any.
-- KEYS[1]  hash of the agent's partition
-- KEYS[2]  hash of the agent's distances
-- ARGV[1]  id
-- ARGV[2]  its record
-- ARGV[3]  `born` of the partition that it was learned from
-- ARGV[4]  how many an agent may have
-- Returns 1: kept; 0: the agent has gone meanwhile; -1: it has too many.
-- include require_here
require_here(string.match(KEYS[1], '^episodic_partition:{(.*)}$'))
local found = redis.call('HMGET', KEYS[1], 'memories', 'born', 'retired')
if tonumber(found[1] or 0) + tonumber(found[3] or 0) <= 0 or (found[2] or '') ~= ARGV[3] then
  return 0
end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then
  return -1
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
