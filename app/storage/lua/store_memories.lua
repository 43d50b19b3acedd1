-- Store memories of one partition, each once: its check and its write are one step.
-- KEYS[1]  hash of the partition; field `seq` counts the memories ever written
-- KEYS[2..] hash of each memory
-- ARGV     how many forms the hashes have; for each form how many fields, and their names; then for
--          each memory the number of its form, the digest of what the caller sent, and the values
--          of its fields in the form's order. (Names once a call: a fifth less to send and to read.)
-- Returns for each memory 1: created; 0: the same content was there; -1: other content is there;
-- or the error that it met, which spoils no other.
local at = 2
local forms = {}
for number = 1, ARGV[1] do
  -- A call of HSET but for the values: digest, seq, and then every other field.
  local words, count = {'digest', '', 'seq', ''}, tonumber(ARGV[at])
  for n = 1, count do
    words[2 * n + 3] = ARGV[at + n]
  end
  forms[number] = {words, count}
  at = at + count + 1
end

local results = {}
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or 0)
local seq_before = seq
for i = 2, #KEYS do
  local form, digest = forms[tonumber(ARGV[at])], ARGV[at + 1]
  local words, count = form[1], form[2]
  local result = redis.pcall('HGET', KEYS[i], 'digest')
  if not result then
    words[2], words[4] = digest, seq + 1
    for n = 1, count do
      words[2 * n + 4] = ARGV[at + 1 + n]
    end
    result = redis.pcall('HSET', KEYS[i], unpack(words, 1, 2 * count + 4))
    if type(result) == 'number' then
      seq = seq + 1
      result = 1
    end
  elseif type(result) == 'string' then
    result = result == digest and 0 or -1
  end
  results[i - 1] = result
  at = at + count + 2
end
if seq > seq_before then
  redis.call('HSET', KEYS[1], 'seq', seq)
end
return results
