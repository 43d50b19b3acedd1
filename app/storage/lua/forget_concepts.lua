#!lua flags=allow-oom
-- Delete concepts that are still not pinned and that no rule keeps, and count them off.
-- KEYS[1..n] hashes of the days on which accesses count
-- KEYS[n+1] hash of the partition
-- KEYS[n+2..] hashes of the concepts
-- ARGV[1]  n
-- ARGV[2]  a higher Sharpe ratio keeps a concept
-- ARGV[3]  more accesses keep it
-- ARGV[4]  unix seconds: a later created_at keeps it
-- Returns how many were deleted.
-- include count_off
-- include unlink_memory
local days, sharpe_ratio = tonumber(ARGV[1]), tonumber(ARGV[2])
local accesses, created_at = tonumber(ARGV[3]), tonumber(ARGV[4])
require_counters(KEYS[days + 1])
-- All is read before the first is deleted: a key of another type ends this while nothing is done.
local going = {}
for i = days + 2, #KEYS do
  local concept = redis.pcall('HMGET', KEYS[i], 'seq', 'pinned', 'sharpe_ratio', 'created_at')
  local is_kept = concept.err
    or not concept[1]
    or concept[2] == 'true'
    or tonumber(concept[3]) > sharpe_ratio
    or tonumber(concept[4]) > created_at
  if not is_kept then
    local hits = 0
    for day = 1, days do
      hits = hits + tonumber(redis.call('HGET', KEYS[day], concept[1]) or 0)
    end
    if hits <= accesses then
      going[#going + 1] = KEYS[i]
    end
  end
end
local deleted, bytes = 0, 0
for _, key in ipairs(going) do
  bytes = bytes + redis.call('HSTRLEN', key, 'record') + redis.call('HSTRLEN', key, 'concept_vector')
  deleted = deleted + unlink_memory(key)
end
if deleted > 0 then
  count_off(KEYS[days + 1], deleted, bytes)
end
return deleted
