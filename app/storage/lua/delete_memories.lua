#!lua flags=allow-oom
-- Delete memories of one partition, or retire experiences, and subtract them from its counters.
-- KEYS[1]  hash of the partition
-- KEYS[2..] hashes of memories
-- ARGV[1]  how many entries the change feed keeps
-- ARGV[2]  unix seconds: now, when they retire; empty: they are deleted
-- Returns how many were removed.
-- include count_off
-- include unlink_memory
-- include note_changes
-- include retire_memory
-- include forget_decisions
-- include remove_emptied
local sized = { 'record', 'state_vector', 'next_state_vector', 'concept_vector' }
require_counters(KEYS[1])
require_feed(KEYS[1])
local deleted, bytes, gone = 0, 0, {}
for i = 2, #KEYS do
  local size = 0
  for _, field in ipairs(sized) do
    local length = redis.pcall('HSTRLEN', KEYS[i], field)
    size = size + (type(length) == 'number' and length or 0)
  end
  local gone_now
  if ARGV[2] == '' then
    gone_now = unlink_memory(KEYS[i])
  else
    gone_now = retire_memory(KEYS[1], KEYS[i], ARGV[2])
  end
  if gone_now == 1 then
    deleted, bytes = deleted + 1, bytes + size
    gone[#gone + 1] = string.sub(KEYS[i], id_start(KEYS[1]))
  end
end
if deleted > 0 then
  count_off(KEYS[1], deleted, bytes)
  note_changes(KEYS[1], ARGV[1], 'delete', gone)
  if ARGV[2] ~= '' then
    note_retired(KEYS[1], deleted, bytes, ARGV[2])
  end
  forget_decisions(KEYS[1])
  remove_emptied(KEYS[1])
end
return deleted
