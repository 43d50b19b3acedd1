-- Delete one memory; 0 when there was none. Of a concept also what it was before it was changed
-- (change_concept.lua), newest first.
local function unlink_memory(key)
  local memory = redis.call('HMGET', key, 'seq', 'versions')
  local number = tonumber(memory[2] or 0)
  local past = 'semantic_history:{semantic_memory_idx}:' .. (memory[1] or '') .. ':'
  while number > 0 and redis.call('UNLINK', past .. number) == 1 do
    number = number - 1
  end
  return redis.call('UNLINK', key)
end
