-- Put back one memory as it was exported, unless something is there: check and write are one step.
-- KEYS[1]  hash of the memory
-- KEYS[2]  hash of its partition; field `seq` counts the memories ever written
-- ARGV[1]  how many of the fields that follow make the content: those come first
-- ARGV[2..] the hash's fields and values, in turn
-- Returns 1: created; 0: the same content was there; -1: other content is there.
if redis.call('EXISTS', KEYS[1]) == 1 then
  for i = 2, 2 * ARGV[1], 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then
      return -1
    end
  end
  return 0
end
local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
redis.call('HSET', KEYS[1], 'seq', seq, unpack(ARGV, 2))
return 1
