-- Restore a concept's content from before a change, after the concept itself was restored.
-- KEYS[1]  hash of the concept
-- KEYS[2]  key that exists when anything of a concept's past is kept
-- ARGV[1]  prefix of the past: SEQ:NUMBER follows
-- ARGV[2]  number of the change that replaced this content
-- ARGV[3]  how often the concept had been changed when it was exported
-- ARGV[4]  unix seconds of its last change
-- ARGV[5]  unix seconds at which this expires
-- ARGV[6..] fields and values
-- Returns 1: restored; 0: exists already; -1: left out, because it has expired or the concept differs.
local concept = redis.call('HMGET', KEYS[1], 'seq', 'versions', 'changed_at')
local is_same = concept[2] == ARGV[3] and concept[3] == ARGV[4]
if not is_same or tonumber(ARGV[5]) <= tonumber(redis.call('TIME')[1]) then
  return -1
end
local past = ARGV[1] .. concept[1] .. ':' .. ARGV[2]
if redis.call('EXISTS', past) == 1 then
  return 0
end
redis.call('HSET', past, 'seq', concept[1], unpack(ARGV, 6))
redis.call('EXPIREAT', past, ARGV[5])
redis.call('SET', KEYS[2], '1')
return 1
