-- Begin the change feed of an agent's copy, unless another attempt at the move has begun or ended.
-- Readers with a position of the former feed take a snapshot. A feed that lacks its first entry says so
-- to those who have read nothing yet.
-- KEYS[1]  the hash of what holds agents' writes back
-- KEYS[2]  stream of the agent's changes
-- ARGV[1]  the agent
-- ARGV[2]  what must hold its writes back here
-- Returns 1; 0 if something else holds the writes back: nothing was done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('UNLINK', KEYS[2])
local first = redis.call('XADD', KEYS[2], '*', 'begin', '')
redis.call('XADD', KEYS[2], '*', 'begin', '')
redis.call('XDEL', KEYS[2], first)
return 1
