-- The last `seq` of a partition that is to be written to, whether it is new, and whether its index
-- is there. The check and the write are one script: what removes an emptied agent's leftovers
-- (remove_emptied.lua) does so before this, or finds a memory.
-- `alias` is the partition's index; empty where the agents' names are on
-- another shard, so that nothing is removed here.
local function open_partition(partition, alias)
  local seq = redis.call('HGET', partition, 'seq')
  if seq or alias == '' then
    return tonumber(seq or 0), false, true
  end
  redis.call('SCARD', 'episodic_agents') -- another type there ends this before the first write
  local info = redis.pcall('FT.INFO', alias)
  return tonumber(redis.call('GET', 'episodic_seq') or 0), true, not info.err
end
-- Enter the agent of a new partition.
local function enter_agent(partition)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent then
    redis.call('SADD', 'episodic_agents', agent)
    -- Tells this partition from a former one of the same name, whose numbers may be the same.
    local now = redis.call('TIME')
    redis.call('HSET', partition, 'born', now[1] .. '.' .. now[2])
    -- The feed of one that was emptied was about to expire.
    redis.call('PERSIST', 'episodic_changes:{' .. agent .. '}')
  end
end
