-- Change a concept if it is still as it was read, and keep its former content.
-- KEYS[1]  hash of the concept
-- KEYS[2]  key that exists when anything of a concept's past is kept
-- KEYS[3]  hash of the concepts' partition: the record's change of length is counted in `bytes`
-- ARGV[1]  the record as it was read
-- ARGV[2]  prefix of the past: SEQ:NUMBER follows
-- ARGV[3]  unix seconds: now
-- ARGV[4]  how many former contents of a concept are kept
-- ARGV[5]  for how many seconds each is kept
-- ARGV[6..] fields and values to set, alternately, including the new record
-- Returns 1: changed; 0: the concept was changed or deleted since it was read.
-- include count_off
if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then
  return 0
end
require_counters(KEYS[3])
local was = redis.call('HMGET', KEYS[1], 'seq', 'created_at', 'changed_at', 'versions', 'record',
  'concept_vector', 'memory_type', 'regime_name', 'sharpe_ratio', 'win_rate', 'past_from')
local from, now = was[3] or was[2], ARGV[3]
if tonumber(now) < tonumber(from) then -- the clock was set back
  now = from
end
local number = tonumber(was[4] or 0) + 1
local past = ARGV[2] .. was[1] .. ':'
redis.call('HSET', past .. number, 'seq', was[1], 'created_at', was[2], 'valid_from', from,
  'valid_until', now, 'record', was[5], 'concept_vector', was[6], 'memory_type', was[7],
  'regime_name', was[8], 'sharpe_ratio', was[9], 'win_rate', was[10])
redis.call('EXPIRE', past .. number, ARGV[5])
-- Usually one is too old; more after the limit was lowered. `past_from` is the oldest one kept.
local past_from, too_old = tonumber(was[11] or 1), number - ARGV[4]
for gone = past_from, too_old do
  redis.call('UNLINK', past .. gone)
end
past_from = math.max(past_from, too_old + 1)
redis.call('SET', KEYS[2], '1')
redis.call('HSET', KEYS[1], 'changed_at', now, 'versions', number, 'past_from', past_from,
  unpack(ARGV, 6))
redis.call('HINCRBY', KEYS[3], 'bytes', redis.call('HSTRLEN', KEYS[1], 'record') - #ARGV[1])
return 1
