#!lua flags=allow-oom
-- Retire concepts that are not pinned and that no rule keeps, and subtract them from the counters.
-- Their contents are kept as former contents: the rules look at later performance, and a question as
-- of an earlier moment must not find only the winners.
-- KEYS[1..n] hashes of the days on which accesses count
-- KEYS[n+1] hash of the partition
-- KEYS[n+2] key that exists when anything of a concept's past is kept
-- KEYS[n+3..] hashes of the concepts
-- ARGV[1]  n
-- ARGV[2]  a higher Sharpe ratio keeps a concept
-- ARGV[3]  more accesses keep it
-- ARGV[4]  unix seconds: a later created_at keeps it
-- ARGV[5]  prefix of the past: SEQ:NUMBER follows
-- ARGV[6]  unix seconds: now
-- ARGV[7]  for how many seconds the past is kept; 0: it is deleted as well
-- ARGV[8]  prefix of the sets of retired concepts: ID follows
-- ARGV[9]  prefix of the concepts' keys: ID follows
-- Returns how many were retired.
-- include count_off
-- include unlink_memory
local function retire(key, kept)
  local was = redis.call('HMGET', key, 'seq', 'created_at', 'changed_at', 'versions', 'record',
    'concept_vector', 'memory_type', 'regime_name', 'sharpe_ratio', 'win_rate')
  local from = was[3] or was[2]
  if tonumber(ARGV[7]) <= 0 or not was[6] then
    return unlink_memory(key)
  end
  -- If the clock was set back, the present content was valid at no moment.
  if tonumber(ARGV[6]) > tonumber(from) then
    local past = ARGV[5] .. was[1] .. ':' .. (tonumber(was[4] or 0) + 1)
    redis.call('HSET', past, 'seq', was[1], 'created_at', was[2], 'valid_from', from,
      'valid_until', ARGV[6], 'record', was[5], 'concept_vector', was[6], 'memory_type', was[7],
      'regime_name', was[8], 'sharpe_ratio', was[9], 'win_rate', was[10])
    redis.call('EXPIRE', past, ARGV[7])
    redis.call('SET', kept, '1')
  end
  local retired = ARGV[8] .. string.sub(key, #ARGV[9] + 1)
  redis.call('SADD', retired, was[1])
  redis.call('EXPIRE', retired, ARGV[7])
  return redis.call('UNLINK', key)
end
local days, sharpe_ratio = tonumber(ARGV[1]), tonumber(ARGV[2])
local accesses, created_at = tonumber(ARGV[3]), tonumber(ARGV[4])
require_counters(KEYS[days + 1])
-- Read everything before deleting anything: a key of another type must stop the script before it
-- has written.
local going = {}
for i = days + 3, #KEYS do
  local concept = redis.pcall('HMGET', KEYS[i], 'seq', 'pinned', 'sharpe_ratio', 'created_at')
  local is_kept = concept.err
    or not concept[1]
    or concept[2] == 'true'
    or tonumber(concept[3]) > sharpe_ratio
    or tonumber(concept[4]) > created_at
  if not is_kept then
    local hits = 0
    for day = 1, days do
      hits = hits + tonumber(redis.call('HGET', KEYS[day], concept[1]) or 0)
    end
    if hits <= accesses then
      going[#going + 1] = KEYS[i]
    end
  end
end
local deleted, bytes = 0, 0
for _, key in ipairs(going) do
  bytes = bytes + redis.call('HSTRLEN', key, 'record') + redis.call('HSTRLEN', key, 'concept_vector')
  deleted = deleted + retire(key, KEYS[days + 2])
end
if deleted > 0 then
  count_off(KEYS[days + 1], deleted, bytes)
end
return deleted
