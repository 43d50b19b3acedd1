-- Enter changes of an agent's memory into its feed, in the same step as the changes themselves.
-- `changes` holds `put` or `delete` and the id of a memory, in turn; the swarm's concepts have no feed.
local function note_changes(partition, max_entries, changes)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent and #changes > 0 then
    redis.call('XADD', 'episodic_changes:{' .. agent .. '}', 'MAXLEN', '~', max_entries, '*',
      unpack(changes))
  end
end
-- Fail, before anything is written, where something else stands in place of the agent's feed.
local function require_feed(partition)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent then
    redis.call('XLEN', 'episodic_changes:{' .. agent .. '}')
  end
end
-- The id of a memory of this partition.
local function id_of(partition, key)
  return string.sub(key, #'episodic:' + #partition - #'episodic_partition:' + 2)
end
