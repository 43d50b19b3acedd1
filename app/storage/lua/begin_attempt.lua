#!lua flags=allow-oom
-- Begin an attempt to move an agent from here to another group, which ends any other attempt.
-- KEYS[1]  the hash of what holds agents' writes back
-- ARGV[1]  the agent
-- Returns the attempt's number, which is higher than those before; 0 if the agent has moved already.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.sub(held, 1, 6) == 'moved ' then
  return 0
end
local time = redis.call('TIME')
local before = held and tonumber(string.match(held, '^%a+ (%d+)')) or 0
local attempt = math.max(before + 1, time[1] * 1000000 + time[2])
redis.call('HSET', KEYS[1], ARGV[1], 'copying ' .. string.format('%d', attempt))
return attempt
