-- Store one memory, once: the check and the write are one step.
-- KEYS[1]  hash of the memory
-- KEYS[2]  hash of its partition; field `seq` counts the memories ever written
-- ARGV[1]  digest of what the caller sent
-- ARGV[2..] the hash's fields and values, in turn
-- Returns 1: created; 0: the same content was there; -1: other content is there.
local stored = redis.call('HGET', KEYS[1], 'digest')
if stored then
  return stored == ARGV[1] and 0 or -1
end
local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'seq', seq, unpack(ARGV, 2))
return 1
