#!lua flags=no-writes
-- Read what changed in an agent's memory after a position: each memory once, as it is now.
-- KEYS[1]  stream of the agent's changes
-- KEYS[2]  hash of the partition
-- ARGV[1]  id of the entry after which to read; 0-0: from the beginning
-- ARGV[2]  id of the last entry whose effects the reader may have seen; empty: unknown
-- ARGV[3]  digest of that entry
-- ARGV[4]  how many memories to return; the memories of one entry are not separated
-- ARGV[5]  stop after this many bytes of memories
-- ARGV[6]  prefix of the memories' keys
-- Returns 1 if nothing after ARGV[1] was trimmed, else 0; 1 if the entry ARGV[2] is unchanged, else 0;
-- the id of the last entry read; id and digest of the stream's last entry; the replication id of this
-- data; when memories last retired (unix seconds), nil if never; then for each memory its id, record,
-- vectors and `seq`, nil if deleted.
local NOTHING = '0-0'
local function digest(entry)
  return string.sub(redis.sha1hex(table.concat(entry[2], '\0')), 1, 12)
end
local after, seen = ARGV[1], ARGV[2]
local is_there = redis.call('EXISTS', KEYS[1]) == 1
local is_kept, is_proven = 0, 0
if after ~= NOTHING then
  is_kept = #redis.call('XRANGE', KEYS[1], after, after)
elseif is_there then
  local info, said = redis.call('XINFO', 'STREAM', KEYS[1]), {}
  for i = 1, #info, 2 do
    said[type(info[i]) == 'table' and info[i].ok or info[i]] = info[i + 1]
  end
  -- A stream that Redis evicted and that began again is younger than the memory.
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  local seconds, micros = string.match(redis.call('HGET', KEYS[2], 'born') or '', '^(%d+)%.(%d+)$')
  local born = seconds and seconds * 1000 + math.floor(micros / 1000) or math.huge
  local begun = first and tonumber(string.match(first[1], '^%d+')) or 0
  is_kept = said['length'] == said['entries-added'] and begun <= born and 1 or 0
else
  is_kept = 1 - redis.call('EXISTS', KEYS[2])
end
if seen == NOTHING then
  is_proven = 1
elseif seen ~= '' then
  local entry = redis.call('XRANGE', KEYS[1], seen, seen)[1]
  is_proven = entry and digest(entry) == ARGV[3] and 1 or 0
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local reply = { is_kept, is_proven, after, last and last[1] or NOTHING, last and digest(last) or '',
  string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)'),
  redis.call('HGET', KEYS[2], 'retired_until') }
if is_kept == 0 or not last or last[1] == after then
  return reply
end
local wanted, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local known, count, bytes = {}, 0, 0
local start = after == NOTHING and '-' or '(' .. after
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', wanted)) do
  for id in string.gmatch(entry[2][2], '[^\n]+') do
    if not known[id] then
      known[id] = true
      local memory = redis.pcall('HMGET', ARGV[6] .. id, 'record', 'state_vector',
        'next_state_vector', 'seq')
      if memory.err then -- a key of another type is there
        memory = {}
      end
      count = count + 1
      reply[#reply + 1] = id
      for n = 1, 4 do
        local value = memory[n] or false
        reply[#reply + 1] = value
        bytes = bytes + (value and #value or 0)
      end
    end
  end
  reply[3] = entry[1]
  if count >= wanted or bytes >= max_bytes then
    break
  end
end
return reply
