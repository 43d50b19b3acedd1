#!lua flags=allow-oom
-- Remove what stands beside an agent's memories: whole hashes, or fields of them.
-- KEYS     hashes
-- ARGV[1]  the agent
-- ARGV[2..] fields to remove from each. Without them the hashes are removed
-- Returns how many fields or hashes were removed.
-- include require_here
require_here(ARGV[1])
local removed = 0
for i = 1, #KEYS do
  if #ARGV == 1 then
    removed = removed + redis.call('UNLINK', KEYS[i])
  else
    removed = removed + redis.call('HDEL', KEYS[i], unpack(ARGV, 2))
  end
end
return removed
