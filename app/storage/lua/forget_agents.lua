#!lua flags=allow-oom
-- Remove what agents without a memory left behind: a refused store, memories that Redis evicted, or
-- an earlier release.
-- KEYS     hashes of partitions, which need not exist
-- Returns how many agents were removed. One that is on its way to or from here stays: its mover removes
-- what it leaves.
-- include remove_emptied
local removed = 0
for i = 1, #KEYS do
  local agent = string.match(KEYS[i], '^episodic_partition:{(.*)}$')
  if redis.call('HEXISTS', 'episodic_moving', agent) == 0 then
    removed = removed + remove_emptied(KEYS[i], true)
  end
end
return removed
