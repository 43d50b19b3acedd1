#!lua flags=allow-oom
-- Delete experiences of one agent that are still too old and not pinned, and count them off.
-- KEYS[1]  hash of the partition
-- KEYS[2..] hashes of experiences
-- ARGV[1]  unix seconds: an earlier time is too old
-- ARGV[2]  the field that holds this time; a memory without it stays
-- ARGV[3]  1: remove what an emptied agent leaves; 0: their names are on another shard
-- ARGV[4]  how many entries of changes are kept
-- Returns how many were deleted.
-- include remove_emptied
-- include note_changes
local deleted, bytes, changes = 0, 0, {}
for i = 2, #KEYS do
  local memory = redis.call('HMGET', KEYS[i], ARGV[2], 'pinned')
  if memory[1] and tonumber(memory[1]) < tonumber(ARGV[1]) and memory[2] ~= 'true' then
    for _, field in ipairs({ 'record', 'state_vector', 'next_state_vector' }) do
      bytes = bytes + redis.call('HSTRLEN', KEYS[i], field)
    end
    deleted = deleted + redis.call('UNLINK', KEYS[i])
    changes[#changes + 1] = 'delete'
    changes[#changes + 1] = id_of(KEYS[1], KEYS[i])
  end
end
if deleted > 0 then
  redis.call('HINCRBY', KEYS[1], 'memories', -deleted)
  redis.call('HINCRBY', KEYS[1], 'bytes', -bytes)
  note_changes(KEYS[1], ARGV[4], changes)
  if ARGV[3] == '1' then
    remove_emptied(KEYS[1])
  end
end
return deleted
