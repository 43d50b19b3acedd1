-- Add one batch of hits exactly once: sending it again changes nothing.
-- KEYS[1]  hash of hits not yet folded
-- KEYS[2]  hash of the times of the last of them
-- KEYS[3]  hash of the batch's day
-- KEYS[4]  number of the process's last batch
-- KEYS[5..] hashes of the concepts that were hit
-- ARGV[1]  number of this batch, higher than the previous batch's
-- ARGV[2]  seconds for which KEYS[3] is kept
-- ARGV[3]  seconds for which KEYS[4] is kept
-- ARGV[4..] for each concept: its seq, `SEQ:ID`, its hits, unix seconds of the last one
-- Returns for each concept all of its hits, folded or not (-1: it was deleted), and unix seconds of
-- the last one, as text.
local sent = redis.call('GET', KEYS[4])
local is_new = not sent or tonumber(sent) < tonumber(ARGV[1])
local reply = {}
for i = 5, #KEYS do
  local first = 4 * (i - 4)
  local seq, field, hits, last = ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3]
  local known = redis.call('HGET', KEYS[2], field)
  if is_new then
    redis.call('HINCRBY', KEYS[1], field, hits)
    redis.call('HINCRBY', KEYS[3], seq, hits)
    if not known or tonumber(known) < tonumber(last) then
      redis.call('HSET', KEYS[2], field, last)
      known = last
    end
  end
  local concept = redis.call('HMGET', KEYS[i], 'seq', 'access_count', 'last_accessed')
  if concept[1] == seq then
    local unfolded = tonumber(redis.call('HGET', KEYS[1], field) or 0)
    reply[#reply + 1] = string.format('%d', tonumber(concept[2]) + unfolded)
    local is_later = known and tonumber(known) > tonumber(concept[3])
    reply[#reply + 1] = is_later and known or concept[3]
  else
    reply[#reply + 1] = '-1'
    reply[#reply + 1] = '0'
  end
end
if is_new then
  redis.call('EXPIRE', KEYS[3], ARGV[2])
  redis.call('SET', KEYS[4], ARGV[1], 'EX', ARGV[3])
end
return reply
