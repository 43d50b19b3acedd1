-- include count_off
-- include unlink_memory
-- include note_changes
-- include retire_memory
-- include forget_decisions
-- include remove_emptied
-- Delete memories of one partition, or retire experiences. Subtract them from its counters, and note
-- them in the change feed, which keeps `entries` entries. `now`: unix seconds, when they retire;
-- empty: they are deleted. Call require_counters and require_feed first. Returns how many were
-- removed.
local function remove_memories(partition, memories, entries, now)
  local removed, bytes, gone = 0, 0, {}
  for _, key in ipairs(memories) do
    local size = 0
    for _, field in ipairs({ 'record', 'state_vector', 'next_state_vector', 'concept_vector' }) do
      local length = redis.pcall('HSTRLEN', key, field)
      size = size + (type(length) == 'number' and length or 0)
    end
    local is_gone
    if now == '' then
      is_gone = unlink_memory(key)
    else
      is_gone = retire_memory(partition, key, now)
    end
    if is_gone == 1 then
      removed, bytes = removed + 1, bytes + size
      gone[#gone + 1] = string.sub(key, id_start(partition))
    end
  end
  if removed > 0 then
    count_off(partition, removed, bytes)
    note_changes(partition, entries, 'delete', gone)
    if now ~= '' then
      note_retired(partition, removed, bytes, now)
    end
    forget_decisions(partition)
    remove_emptied(partition)
  end
  return removed
end
