#!lua flags=no-writes
-- Return records and states of memories, in order.
-- KEYS     hashes of memories
-- Returns for each its record and its state vector, nil for a deleted one.
local reply = {}
for i = 1, #KEYS do
  local memory = redis.pcall('HMGET', KEYS[i], 'record', 'state_vector')
  local is_there = not memory.err and memory[1] and memory[2]
  reply[2 * i - 1] = is_there and memory[1] or false
  reply[2 * i] = is_there and memory[2] or false
end
return reply
