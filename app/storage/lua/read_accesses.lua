-- Return how often concepts were found, folded or not, all at one moment.
-- KEYS[1]  hash of hits not yet folded
-- KEYS[2]  hash of the times of the last of them
-- KEYS[3]  number of the asking process's last batch
-- KEYS[4..] hashes of concepts
-- ARGV     for each concept: its id
-- Returns the number in KEYS[3] (0: none), then for each concept its seq (0: it was deleted), its
-- hits and unix seconds of the last one, as text.
local reply = { redis.call('GET', KEYS[3]) or '0' }
for i = 4, #KEYS do
  local concept = redis.call('HMGET', KEYS[i], 'seq', 'access_count', 'last_accessed')
  local seq, count, last = concept[1] or '0', concept[2] or '0', concept[3] or '0'
  local field = seq .. ':' .. ARGV[i - 3]
  local hits = redis.call('HGET', KEYS[1], field)
  if hits then
    count = string.format('%d', tonumber(count) + tonumber(hits))
    local later = redis.call('HGET', KEYS[2], field)
    if tonumber(later) > tonumber(last) then
      last = later
    end
  end
  reply[#reply + 1] = seq
  reply[#reply + 1] = count
  reply[#reply + 1] = last
end
return reply
