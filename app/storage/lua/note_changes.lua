-- Enter changes of an agent's memory into its feed, in the same step as the changes themselves.
-- `op` is `put` or `delete`; the swarm's concepts have no feed. No id holds a line end.
local function note_changes(partition, max_entries, op, ids)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent and #ids > 0 then
    redis.call('XADD', 'episodic_changes:{' .. agent .. '}', 'MAXLEN', '~', max_entries, '*',
      op, table.concat(ids, '\n'))
  end
end
-- Fail, before anything is written, where something else stands in place of the agent's feed.
local function require_feed(partition)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent then
    redis.call('XLEN', 'episodic_changes:{' .. agent .. '}')
  end
end
-- Where the id begins in the keys of this partition's memories.
local function id_start(partition)
  return #'episodic:' + #partition - #'episodic_partition:' + 2
end
