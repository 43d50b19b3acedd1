#!lua flags=allow-oom
-- Remove a part of an agent's copy, or of what the agent left behind, unless another attempt at the move
-- has begun or ended.
-- KEYS[1]  the hash of what holds agents' writes back
-- KEYS[2..] keys to remove
-- ARGV[1]  the agent
-- ARGV[2]  what must hold its writes back here
-- ARGV[3]  1: the agent's name is removed, too
-- Returns 1; 0 if something else holds the writes back: nothing was done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
if #KEYS > 1 then
  redis.call('UNLINK', unpack(KEYS, 2))
end
if ARGV[3] == '1' then
  redis.call('SREM', 'episodic_agents', ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) -- a write also where nothing changes, for WAIT after it
return 1
