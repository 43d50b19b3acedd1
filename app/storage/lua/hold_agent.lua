#!lua flags=allow-oom
-- Hold an agent's writes back at the end of its move to another group.
-- KEYS[1]  the hash of what holds agents' writes back
-- ARGV[1]  the agent
-- ARGV[2]  the attempt's number
-- ARGV[3]  `leaving`: hold writes back for some time; `moved`: hold them back for good
-- ARGV[4]  for `leaving` the milliseconds, 0 to let writes go on; for `moved` the group that the agent
--          moves to
-- Returns 1; 0 if another attempt has begun, or the time was over before `moved`.
local held = redis.call('HGET', KEYS[1], ARGV[1])
local own = held and string.match(held, '^%a+ (%d+)')
if own ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now_ms = math.floor(time[1] * 1000 + time[2] / 1000)
if ARGV[3] == 'leaving' then
  redis.call('HSET', KEYS[1], ARGV[1], 'leaving ' .. own .. ' ' .. string.format('%d', now_ms + ARGV[4]))
  return 1
end
local until_ms = string.match(held, '^leaving %d+ (%d+)$')
if not until_ms or now_ms >= tonumber(until_ms) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], 'moved ' .. ARGV[4])
return 1
