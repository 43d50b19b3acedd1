#!lua flags=allow-oom
-- Delete retired experiences of one agent and count them off.
-- KEYS[1]  hash of the partition
-- KEYS[2..] hashes of retired experiences
-- ARGV[1]  1: note up to when answers as of a moment may lack something; 0: the caller wants them
--          to forget
-- Returns how many were deleted.
-- include require_here
-- include remove_emptied
local agent = string.match(KEYS[1], '^episodic_partition:{(.*)}$')
require_here(agent)
local deleted, bytes, purged = 0, 0, nil
for i = 2, #KEYS do
  local at = redis.pcall('HGET', KEYS[i], 'retired_at')
  if type(at) == 'string' then
    for _, field in ipairs({ 'record', 'state_vector', 'next_state_vector' }) do
      bytes = bytes + redis.call('HSTRLEN', KEYS[i], field)
    end
    deleted = deleted + redis.call('UNLINK', KEYS[i])
    if not purged or tonumber(purged) < tonumber(at) then
      purged = at
    end
  end
end
if deleted > 0 then
  redis.call('HINCRBY', KEYS[1], 'retired', -deleted)
  redis.call('HINCRBY', KEYS[1], 'retired_bytes', -bytes)
  if ARGV[1] == '1' then
    for _, field in ipairs({ 'purged', 'purged:' .. agent }) do
      local known = redis.call('HGET', 'episodic_retirements', field)
      if not known or tonumber(known) < tonumber(purged) then
        redis.call('HSET', 'episodic_retirements', field, purged)
      end
    end
  end
  remove_emptied(KEYS[1])
end
return deleted
