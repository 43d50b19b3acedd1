-- Move counted hits into the concepts' indexed fields: what is added here is removed there.
-- KEYS[1]  hash of hits not yet folded
-- KEYS[2]  hash of the times of the last of them
-- KEYS[3..] hashes of concepts
-- ARGV     for each concept: `SEQ:ID`
-- Returns how many concepts were changed.
local changed = 0
for i = 3, #KEYS do
  local field = ARGV[i - 2]
  local hits = redis.call('HGET', KEYS[1], field)
  if hits then
    local concept = redis.call('HMGET', KEYS[i], 'seq', 'access_count', 'last_accessed')
    -- Otherwise it was deleted since, or another one has its id: the hits belong to nobody.
    if concept[1] == string.match(field, '^%d+') then
      local last = redis.call('HGET', KEYS[2], field)
      if tonumber(concept[3] or 0) > tonumber(last) then
        last = concept[3]
      end
      -- One HSET for both: each HSET makes the engine insert the concept's vector again.
      local count = string.format('%d', tonumber(concept[2] or 0) + tonumber(hits))
      redis.call('HSET', KEYS[i], 'access_count', count, 'last_accessed', last)
      changed = changed + 1
    end
    redis.call('HDEL', KEYS[1], field)
    redis.call('HDEL', KEYS[2], field)
  end
end
return changed
