-- Change a memory if it is still as it was read.
-- KEYS[1]  hash of the memory
-- KEYS[2]  hash of its partition: the record's change of length is counted in `bytes`, the change
--          in `rev`, which the memory keeps
-- ARGV[1]  the record as it was read
-- ARGV[2]  how many entries the change feed keeps
-- ARGV[3]  what the feed says of the change: `outcome` or `rating`
-- ARGV[4..] fields and values to set, alternately, including the new record
-- Returns 1: changed; 0: the memory was changed or deleted since it was read.
-- include count_off
-- include note_changes
require_feed(KEYS[2])
if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then
  return 0
end
require_counters(KEYS[2])
redis.call('HSET', KEYS[1], 'rev', redis.call('HINCRBY', KEYS[2], 'rev', 1), unpack(ARGV, 4))
redis.call('HINCRBY', KEYS[2], 'bytes', redis.call('HSTRLEN', KEYS[1], 'record') - #ARGV[1])
note_changes(KEYS[2], ARGV[2], 'put', { string.sub(KEYS[1], id_start(KEYS[2])) },
  ARGV[3])
return 1
