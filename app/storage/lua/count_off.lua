-- Fail before anything is written if a partition's counters are not numbers, because somebody
-- overwrote them. A missing counter counts as 0.
local function require_counters(partition)
  local found = redis.call('HMGET', partition, 'memories', 'bytes')
  for i = 1, 2 do
    if found[i] and not string.match(found[i], '^-?%d+$') then
      error({ err = 'ERR the counters at ' .. partition .. ' are no whole numbers' })
    end
  end
end
-- Subtract deleted memories and their bytes from the counters.
local function count_off(partition, memories, bytes)
  redis.call('HINCRBY', partition, 'memories', -memories)
  redis.call('HINCRBY', partition, 'bytes', -bytes)
end
