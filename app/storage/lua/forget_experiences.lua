-- Delete experiences of one agent that are still too old and not pinned.
-- KEYS     hashes of experiences
-- ARGV[1]  unix seconds: an earlier timestamp is too old
-- Returns how many were deleted.
local deleted = 0
for i = 1, #KEYS do
  local memory = redis.call('HMGET', KEYS[i], 'timestamp', 'pinned')
  if memory[1] and tonumber(memory[1]) < tonumber(ARGV[1]) and memory[2] ~= 'true' then
    deleted = deleted + redis.call('UNLINK', KEYS[i])
  end
end
return deleted
