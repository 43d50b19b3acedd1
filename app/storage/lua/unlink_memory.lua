-- Delete one memory, and a concept's former contents (change_concept.lua) with it; some of these may
-- have expired, in any order. Returns 0 if there is no memory, or a key of another type.
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
