-- Add one batch of hits, once: a batch that is sent again changes nothing.
-- KEYS[1]  hash of hits not yet folded
-- KEYS[2]  hash of the times of the last of them
-- KEYS[3]  hash of the batch's day
-- KEYS[4]  number of the process's last batch
-- ARGV[1]  number of this batch, higher than that of the one before
-- ARGV[2]  seconds for which KEYS[3] is kept
-- ARGV[3]  seconds for which KEYS[4] is kept
-- ARGV[4..] for each concept: its seq, `SEQ:ID`, its hits, unix seconds of the last one
-- Returns 1: added; 0: it had been added before.
local sent = redis.call('GET', KEYS[4])
if sent and tonumber(sent) >= tonumber(ARGV[1]) then
  return 0
end
for i = 4, #ARGV, 4 do
  local seq, field, hits, last = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  redis.call('HINCRBY', KEYS[1], field, hits)
  redis.call('HINCRBY', KEYS[3], seq, hits)
  local known = redis.call('HGET', KEYS[2], field)
  if not known or tonumber(known) < tonumber(last) then
    redis.call('HSET', KEYS[2], field, last)
  end
end
redis.call('EXPIRE', KEYS[3], ARGV[2])
redis.call('SET', KEYS[4], ARGV[1], 'EX', ARGV[3])
return 1
