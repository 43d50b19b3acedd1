-- Restore one memory as it was exported, unless its key exists: check and write are one step.
-- KEYS[1]  hash of the memory
-- KEYS[2]  hash of its partition; fields as store_memories.lua has them
-- KEYS[3..] hashes that count accesses by day, one for each day on which searches found it
-- ARGV[1]  how many of the following fields are content; these come first
-- ARGV[2]  how many words the hash's fields and values take, alternately
-- ARGV[3]  alias of the partition's index; empty: do not check that it exists
-- ARGV[4]  how many entries the change feed keeps
-- ARGV[5..] these words; then for each day: the hits, and unix seconds at which its hash expires
-- Returns 1: created; 0: the same content is stored already; -1: different content is stored; -4: the
-- partition is new and has no index.
-- include open_partition
-- include note_changes
require_feed(KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then
  for i = 5, 4 + 2 * ARGV[1], 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then
      return -1
    end
  end
  return 0
end
local last_seq, is_new, is_indexed = open_partition(KEYS[2], ARGV[3])
if not is_indexed then
  return -4
end
local seq = last_seq + 1
local last = 4 + ARGV[2]
redis.call('HSET', KEYS[1], 'seq', seq, unpack(ARGV, 5, last))
redis.call('HSET', KEYS[2], 'seq', seq)
if is_new then
  enter_agent(KEYS[2])
end
local bytes = 0
for _, field in ipairs({ 'record', 'state_vector', 'next_state_vector', 'concept_vector' }) do
  bytes = bytes + redis.call('HSTRLEN', KEYS[1], field)
end
redis.call('HINCRBY', KEYS[2], 'memories', 1)
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
note_changes(KEYS[2], ARGV[4], 'put', { string.sub(KEYS[1], id_start(KEYS[2])) })
for day = 3, #KEYS do
  local at = last + 2 * (day - 2) - 1
  redis.call('HSET', KEYS[day], seq, ARGV[at])
  redis.call('EXPIREAT', KEYS[day], ARGV[at + 1])
end
return 1
