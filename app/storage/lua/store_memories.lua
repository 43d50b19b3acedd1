-- Store memories of one partition, each once: its check and its write are one step.
-- KEYS[1]  hash of the partition; its fields: `seq` memories ever written, `memories` and `bytes`
--          (records and vectors) that are there now
-- KEYS[2..] hash of each memory
-- ARGV[1]  the most memories that the partition may hold; 0: any number
-- ARGV[2]  the most bytes; 0: any number
-- ARGV[3]  alias of the partition's index; empty: do not check that it exists
-- ARGV[4]  how many entries the change feed keeps
-- ARGV[5..] the number of forms (sets of field names); for each form the number of its fields and
--          their names; then for each memory the number of its form, the digest of what the caller
--          sent, its size in bytes, and the values of its fields in the form's order. (Sending the
--          names once per call makes the call a fifth smaller.)
-- Returns for each memory 1: created; 0: the same content is stored already; -1: different content is
-- stored; -2: the limit of memories is reached; -3: the limit of bytes would be exceeded; -4: the
-- partition is new and has no index; or the error of this memory, which does not affect the others.
-- include open_partition
-- include note_changes
local at = 6
local forms = {}
for number = 1, ARGV[5] do
  -- The words of HSET without the values: digest, seq, then every other field.
  local words, count = {'digest', '', 'seq', ''}, tonumber(ARGV[at])
  for n = 1, count do
    words[2 * n + 3] = ARGV[at + n]
  end
  forms[number] = {words, count}
  at = at + count + 1
end

require_feed(KEYS[1])
local results, created, start = {}, {}, id_start(KEYS[1])
local seq, is_new, is_indexed = open_partition(KEYS[1], ARGV[3])
local partition, seq_before = redis.call('HMGET', KEYS[1], 'memories', 'bytes'), seq
local memories, bytes = tonumber(partition[1] or 0), tonumber(partition[2] or 0)
local max_memories, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 2, #KEYS do
  local form, digest, size = forms[tonumber(ARGV[at])], ARGV[at + 1], tonumber(ARGV[at + 2])
  local words, count = form[1], form[2]
  local result = redis.pcall('HGET', KEYS[i], 'digest')
  if result then
    if type(result) == 'string' then
      result = result == digest and 0 or -1
    end
  elseif not is_indexed then
    result = -4
  elseif max_memories > 0 and memories >= max_memories then
    result = -2
  elseif max_bytes > 0 and bytes + size > max_bytes then
    result = -3
  else
    words[2], words[4] = digest, seq + 1
    for n = 1, count do
      words[2 * n + 4] = ARGV[at + 2 + n]
    end
    result = redis.pcall('HSET', KEYS[i], unpack(words, 1, 2 * count + 4))
    if type(result) == 'number' then
      seq, memories, bytes = seq + 1, memories + 1, bytes + size
      result = 1
      created[#created + 1] = string.sub(KEYS[i], start)
    end
  end
  results[i - 1] = result
  at = at + count + 3
end
if seq > seq_before then
  redis.call('HSET', KEYS[1], 'seq', seq, 'memories', memories,
    'bytes', string.format('%d', bytes))
  note_changes(KEYS[1], ARGV[4], 'put', created)
  if is_new then
    enter_agent(KEYS[1])
  end
end
return results
