-- Return the last `seq` of a partition before a write, whether it is new, and whether its index
-- exists. The check and the write are one script: remove_emptied.lua either runs before it, or finds
-- the new memory.
-- `alias` is the partition's index; empty for the swarm's concepts, which are never removed.
local function open_partition(partition, alias)
  local seq = redis.call('HGET', partition, 'seq')
  if seq or alias == '' then
    return tonumber(seq or 0), false, true
  end
  redis.call('SCARD', 'episodic_agents') -- a key of another type stops the script before its first write
  local info = redis.pcall('FT.INFO', alias)
  return tonumber(redis.call('GET', 'episodic_seq') or 0), true, not info.err
end
-- Add the agent of a new partition to the names.
local function enter_agent(partition)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent then
    redis.call('SADD', 'episodic_agents', agent)
    -- Distinguishes this partition from an earlier one of the same name, which may have the same `seq`.
    local now = redis.call('TIME')
    redis.call('HSET', partition, 'born', now[1] .. '.' .. now[2])
    -- The feed of an emptied agent was about to expire.
    redis.call('PERSIST', 'episodic_changes:{' .. agent .. '}')
  end
end
