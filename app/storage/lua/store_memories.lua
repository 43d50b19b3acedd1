-- Store memories of one partition, each once: its check and its write are one step.
-- KEYS[1]  hash of the partition; its fields: `seq` memories ever written, `memories` and `bytes`
--          (records and vectors) that are there now
-- KEYS[2..] hash of each memory
-- ARGV[1]  the most memories that the partition may hold; 0: any number
-- ARGV[2]  the most bytes; 0: any number
-- ARGV[3..] for each memory in turn: the digest of what the caller sent, its bytes, how many words
--          follow, and these: the hash's fields and values, in turn
-- Returns for each memory 1: created; 0: the same content was there; -1: other content is there;
-- -2: it would be one memory, -3: it would be some bytes too many; or the error that it met, which
-- spoils no other.
local results = {}
local partition = redis.call('HMGET', KEYS[1], 'seq', 'memories', 'bytes')
local seq = tonumber(partition[1] or 0)
local memories, bytes = tonumber(partition[2] or 0), tonumber(partition[3] or 0)
local max_memories, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local seq_before = seq
local at = 3
for i = 2, #KEYS do
  local digest, size, last = ARGV[at], tonumber(ARGV[at + 1]), at + 2 + ARGV[at + 2]
  local result = redis.pcall('HGET', KEYS[i], 'digest')
  if result then
    if type(result) == 'string' then
      result = result == digest and 0 or -1
    end
  elseif max_memories > 0 and memories >= max_memories then
    result = -2
  elseif max_bytes > 0 and bytes + size > max_bytes then
    result = -3
  else
    result = redis.pcall('HSET', KEYS[i], 'digest', digest, 'seq', seq + 1,
      unpack(ARGV, at + 3, last))
    if type(result) == 'number' then
      seq, memories, bytes = seq + 1, memories + 1, bytes + size
      result = 1
    end
  end
  results[i - 1] = result
  at = last + 1
end
if seq > seq_before then
  redis.call('HSET', KEYS[1], 'seq', seq, 'memories', memories,
    'bytes', string.format('%d', bytes))
end
return results
