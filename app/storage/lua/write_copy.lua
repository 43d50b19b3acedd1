-- Write or remove a part of an agent's copy, unless another attempt at the move has begun or ended.
-- KEYS[1]  the hash of what holds agents' writes back
-- KEYS[2..] hashes to write or keys to remove
-- ARGV[1]  the agent
-- ARGV[2]  what must hold its writes back here
-- ARGV[3..] for each key how many words follow, and these: fields and values, alternately. With none
--          the key is removed
-- Returns 1; 0 if something else holds the writes back: nothing was done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
local at = 3
for i = 2, #KEYS do
  local count = tonumber(ARGV[at])
  redis.call('UNLINK', KEYS[i])
  if count > 0 then
    redis.call('HSET', KEYS[i], unpack(ARGV, at + 1, at + count))
  end
  at = at + count + 1
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) -- a write also where nothing changes, for WAIT after it
return 1
