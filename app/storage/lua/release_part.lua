#!lua flags=allow-oom
-- End an attempt at an agent's move that will not be completed. Nothing is done if another one has
-- begun.
-- KEYS[1]  the hash of what holds agents' writes back
-- ARGV[1]  the agent
-- ARGV[2]  what stands there for the attempt: `copying ATTEMPT` in the group that the agent stays in,
--          `arriving ATTEMPT` and what stood there before in the other one
-- Returns 1; 0 if nothing was done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
local is_here = string.sub(ARGV[2], 1, 7) == 'copying'
local before = is_here and 'here' or string.match(ARGV[2], '^arriving %d+ (moved .+)$')
if before then
  redis.call('HSET', KEYS[1], ARGV[1], before)
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
