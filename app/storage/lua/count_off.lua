-- Fail, before anything is written, where a partition's counters cannot be counted: somebody put
-- something else there. A counter that is missing counts as 0.
local function require_counters(partition)
  local found = redis.call('HMGET', partition, 'memories', 'bytes')
  for i = 1, 2 do
    if found[i] and not string.match(found[i], '^-?%d+$') then
      error({ err = 'ERR the counters at ' .. partition .. ' are no whole numbers' })
    end
  end
end
-- Count deleted memories and their bytes off.
local function count_off(partition, memories, bytes)
  redis.call('HINCRBY', partition, 'memories', -memories)
  redis.call('HINCRBY', partition, 'bytes', -bytes)
end
