-- Return how often searches found concepts on some days.
-- KEYS[1..n] hashes of the days
-- KEYS[n+1..] hashes of the concepts
-- ARGV[1]  n
-- Returns for each concept its hits; -1: it was deleted.
local days = tonumber(ARGV[1])
local reply = {}
for i = days + 1, #KEYS do
  local seq = redis.call('HGET', KEYS[i], 'seq')
  local hits = seq and 0 or -1
  if seq then
    for day = 1, days do
      hits = hits + tonumber(redis.call('HGET', KEYS[day], seq) or 0)
    end
  end
  reply[#reply + 1] = hits
end
return reply
