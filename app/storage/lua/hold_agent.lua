-- Change what holds an agent's writes back while it moves to another group.
-- KEYS[1]  the hash of what is held back
-- ARGV[1]  the agent
-- ARGV[2]  this attempt at the move
-- ARGV[3]  `copying`: begin the attempt, which ends any other; `leaving`: hold writes back for some
--          time; `moved`: hold them back for good
-- ARGV[4]  for `leaving` the milliseconds, for `moved` the group that the agent moves to
-- Returns 1; 0 if another attempt has begun, or the time was over before `moved`; 2 if the agent has
-- moved already.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.sub(held, 1, 6) == 'moved ' then
  return 2
end
if ARGV[3] == 'copying' then
  redis.call('HSET', KEYS[1], ARGV[1], 'copying ' .. ARGV[2])
  return 1
end
local own = held and string.match(held, '^%S+ (%S+)')
if own ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now_ms = math.floor(time[1] * 1000 + time[2] / 1000)
if ARGV[3] == 'leaving' then
  redis.call('HSET', KEYS[1], ARGV[1], 'leaving ' .. own .. ' ' .. string.format('%d', now_ms + ARGV[4]))
  return 1
end
local until_ms = string.match(held, '^leaving %S+ (%d+)$')
if not until_ms or now_ms >= tonumber(until_ms) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], 'moved ' .. ARGV[4])
return 1
