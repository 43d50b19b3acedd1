-- Move an experience to where only questions as of an earlier moment find it: a new hash, written
-- once, so that its index takes the vector in once. `rev` tells the histories that it changed.
-- Needs note_changes. Returns 1; 0 if it did not exist.
local function retire_memory(partition, key, now)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  local memory = redis.pcall('HGETALL', key)
  if memory.err or #memory == 0 then
    return 0
  end
  local seq, at = nil, nil
  for i = 1, #memory, 2 do
    if memory[i] == 'seq' then
      seq = memory[i + 1]
    elseif memory[i] == 'rev' then
      at = i + 1
    end
  end
  if seq then
    local id, rev = string.sub(key, id_start(partition)), redis.call('HINCRBY', partition, 'rev', 1)
    if at then
      memory[at] = rev
    else
      memory[#memory + 1], memory[#memory + 2] = 'rev', rev
    end
    -- As app/storage/query_syntax.py writes a tag.
    local is_edged = string.find(id, '^ ') or string.find(id, ' $')
    local past = 'episodic_retired:{' .. agent .. '}:' .. seq
    redis.call('HSET', past, 'id', is_edged and '\194\128' .. id .. '\194\128' or id,
      'retired_at', now, unpack(memory))
  end
  return redis.call('UNLINK', key)
end
-- Count retired memories and their bytes, and say when the latest of them left.
local function note_retired(partition, memories, bytes, now)
  redis.call('HINCRBY', partition, 'retired', memories)
  redis.call('HINCRBY', partition, 'retired_bytes', bytes)
  for _, place in ipairs({ { partition, 'retired_until' }, { 'episodic_retirements', 'newest' } }) do
    local known = redis.call('HGET', place[1], place[2])
    if not known or tonumber(known) < tonumber(now) then
      redis.call('HSET', place[1], place[2], now)
    end
  end
end
