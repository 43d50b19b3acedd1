-- include require_here
-- Append changes of an agent's memory to its change feed, in the script that makes the changes.
-- `op` is `put` or `delete`; the swarm's concepts have no feed. No id contains a line break. `by`:
-- what changed memories that existed, `outcome` or `rating`; nil for a store.
local function note_changes(partition, max_entries, op, ids, by)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent and #ids > 0 then
    redis.call('XADD', 'episodic_changes:{' .. agent .. '}', 'MAXLEN', '~', max_entries, '*',
      op, table.concat(ids, '\n'), unpack(by and { 'by', by } or {}))
  end
end
-- Fail before anything is written if the feed's key has another type, or while the agent moves.
local function require_feed(partition)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent then
    redis.call('XLEN', 'episodic_changes:{' .. agent .. '}')
    require_here(agent)
  end
end
-- Return where the id begins in the keys of this partition's memories.
local function id_start(partition)
  return #'episodic:' + #partition - #'episodic_partition:' + 2
end
