#!lua flags=allow-oom
-- Remove experiences of one agent that are still too old and not pinned, and count them off.
-- KEYS[1]  hash of the partition
-- KEYS[2..] hashes of experiences
-- ARGV[1]  unix seconds: an earlier time is too old
-- ARGV[2]  the field that holds this time; a memory without it stays
-- ARGV[3]  how many entries of changes are kept
-- ARGV[4]  unix seconds: now, when they retire; empty: they are deleted
-- Returns how many were removed.
-- include count_off
-- include remove_emptied
-- include note_changes
-- include retire_memory
-- include forget_decisions
require_counters(KEYS[1])
require_feed(KEYS[1])
local deleted, bytes, gone = 0, 0, {}
for i = 2, #KEYS do
  local memory = redis.pcall('HMGET', KEYS[i], ARGV[2], 'pinned')
  local time = not memory.err and tonumber(memory[1])
  if time and time < tonumber(ARGV[1]) and memory[2] ~= 'true' then
    for _, field in ipairs({ 'record', 'state_vector', 'next_state_vector' }) do
      bytes = bytes + redis.call('HSTRLEN', KEYS[i], field)
    end
    if ARGV[4] == '' then
      deleted = deleted + redis.call('UNLINK', KEYS[i])
    else
      deleted = deleted + retire_memory(KEYS[1], KEYS[i], ARGV[4])
    end
    gone[#gone + 1] = string.sub(KEYS[i], id_start(KEYS[1]))
  end
end
if deleted > 0 then
  count_off(KEYS[1], deleted, bytes)
  note_changes(KEYS[1], ARGV[3], 'delete', gone)
  if ARGV[4] ~= '' then
    note_retired(KEYS[1], deleted, bytes, ARGV[4])
  end
  forget_decisions(KEYS[1])
  remove_emptied(KEYS[1])
end
return deleted
