-- Hold an agent's writes back while an attempt at its move copies it here, unless it lives here or a
-- later attempt does so already.
-- KEYS[1]  the hash of what holds agents' writes back
-- KEYS[2]  hash of the agent's partition
-- ARGV[1]  the agent
-- ARGV[2]  the attempt's number
-- Returns what holds the writes back now: `arriving ATTEMPT`, and what did before if the agent had
-- moved away; nil if nothing was done.
local held = redis.call('HGET', KEYS[1], ARGV[1])
local other = held and tonumber(string.match(held, '^arriving (%d+)'))
local moved = held and string.match(held, 'moved .+$')
local is_here = not held and redis.call('EXISTS', KEYS[2]) == 1 or held and not other and not moved
if is_here or (other and other > tonumber(ARGV[2])) then
  return nil
end
local arriving = 'arriving ' .. ARGV[2] .. (moved and ' ' .. moved or '')
redis.call('HSET', KEYS[1], ARGV[1], arriving)
return arriving
