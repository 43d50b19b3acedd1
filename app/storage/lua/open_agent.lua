#!lua flags=allow-oom
-- Let an agent that has arrived here be written to, and enter its name. Nothing is done if it is not
-- arriving: it is open already, or has moved on.
-- KEYS[1]  the hash of what holds agents' writes back
-- KEYS[2]  the set of the agents' names
-- KEYS[3]  hash of the agent's partition
-- KEYS[4]  stream of the agent's changes
-- ARGV[1]  the agent
-- ARGV[2]  seconds after which the feed of an agent without memories expires
-- Returns 1; 0 if it is not arriving.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held or string.sub(held, 1, 8) ~= 'arriving' then
  return 0
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('SADD', KEYS[2], ARGV[1])
else
  redis.call('EXPIRE', KEYS[4], ARGV[2])
end
redis.call('HSET', KEYS[1], ARGV[1], 'here')
return 1
