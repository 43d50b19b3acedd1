-- Store memories of one partition, each once: its check and its write are one step.
-- KEYS[1]  hash of the partition; field `seq` counts the memories ever written
-- KEYS[2..] hash of each memory
-- ARGV     for each memory in turn: the digest of what the caller sent, how many words follow,
--          and these: the hash's fields and values, in turn
-- Returns for each memory 1: created; 0: the same content was there; -1: other content is there;
-- or the error that it met, which spoils no other.
local results = {}
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or 0)
local seq_before = seq
local at = 1
for i = 2, #KEYS do
  local digest, last = ARGV[at], at + 1 + ARGV[at + 1]
  local result = redis.pcall('HGET', KEYS[i], 'digest')
  if not result then
    result = redis.pcall('HSET', KEYS[i], 'digest', digest, 'seq', seq + 1,
      unpack(ARGV, at + 2, last))
    if type(result) == 'number' then
      seq = seq + 1
      result = 1
    end
  elseif type(result) == 'string' then
    result = result == digest and 0 or -1
  end
  results[i - 1] = result
  at = last + 1
end
if seq > seq_before then
  redis.call('HSET', KEYS[1], 'seq', seq)
end
return results
