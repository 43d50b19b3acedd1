-- Delete one memory; 0 when there was none, or something else under its key. Of a concept also what
-- it was before it was changed (change_concept.lua): some of that may have expired, before or after
-- other parts of it.
local function unlink_memory(key)
  local memory = redis.pcall('HMGET', key, 'seq', 'versions', 'past_from')
  if memory.err then
    return 0
  end
  local past = 'semantic_history:{semantic_memory_idx}:' .. (memory[1] or '') .. ':'
  for number = tonumber(memory[3]) or 1, tonumber(memory[2]) or 0 do
    redis.call('UNLINK', past .. number)
  end
  return redis.call('UNLINK', key)
end
