#!lua flags=allow-oom
-- Remove experiences of one agent that are still too old and not pinned.
-- KEYS[1]  hash of the partition
-- KEYS[2..] hashes of experiences
-- ARGV[1]  unix seconds: an earlier time is too old
-- ARGV[2]  the field that holds this time; a memory without it stays
-- ARGV[3]  how many entries the change feed keeps
-- ARGV[4]  unix seconds: now, when they retire; empty: they are deleted
-- Returns how many were removed.
-- include remove_memories
require_counters(KEYS[1])
require_feed(KEYS[1])
local doomed = {}
for i = 2, #KEYS do
  local memory = redis.pcall('HMGET', KEYS[i], ARGV[2], 'pinned')
  local time = not memory.err and tonumber(memory[1])
  if time and time < tonumber(ARGV[1]) and memory[2] ~= 'true' then
    doomed[#doomed + 1] = KEYS[i]
  end
end
return remove_memories(KEYS[1], doomed, ARGV[3], ARGV[4])
