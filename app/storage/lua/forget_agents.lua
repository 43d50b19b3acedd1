#!lua flags=allow-oom
-- Remove what agents without a memory left behind: a refused store, memories that Redis evicted, or
-- an earlier release.
-- KEYS     hashes of partitions, which need not exist
-- Returns how many agents were removed.
-- include remove_emptied
local removed = 0
for i = 1, #KEYS do
  removed = removed + remove_emptied(KEYS[i], true)
end
return removed
