-- Return what FT.INFO says of an index, by name; nil without the index.
local function index_info(index)
  local info = redis.pcall('FT.INFO', index)
  if info.err then
    return nil
  end
  local said = {}
  for i = 1, #info, 2 do
    local name = info[i] -- a status reply, so a table
    said[type(name) == 'table' and name.ok or name] = info[i + 1]
  end
  return said
end
-- Return how many entries of an index that agents share are this one's; nil if it cannot be searched.
local function count_of_agent(index, agent)
  -- As app/storage/query_syntax.py writes a tag.
  local is_edged = string.find(agent, '^ ') or string.find(agent, ' $')
  local tag = is_edged and '\194\128' .. agent .. '\194\128' or agent
  local query = '@agent_id:{' .. string.gsub(tag, '([^%w\128-\255])', '\\%1') .. '}'
  local found = redis.pcall('FT.SEARCH', index, query, 'LIMIT', 0, 0, 'DIALECT', 2)
  return not found.err and tonumber(found[1]) or nil
end
-- Return how many of an agent's memories are indexed; nil while that is unknown; -1 without an index.
local function indexed_memories(agent)
  local own = index_info('episodic_memory_idx:{' .. agent .. '}')
  local info = own or index_info('episodic_memory_idx')
  if not info then
    return -1
  end
  if tonumber(info.indexing) ~= 0 then
    return nil
  end
  return own and tonumber(own.num_docs) or count_of_agent('episodic_memory_idx', agent)
end
-- Whether an agent has retired experiences, which questions as of an earlier moment find. Also true
-- while that is unknown: without the index, and while it is being built.
local function may_have_retired(agent)
  local info = index_info('episodic_retired_idx')
  local is_known = info and tonumber(info.indexing) == 0
  return not is_known or count_of_agent('episodic_retired_idx', agent) ~= 0
end
-- Seconds for which the feed still tells those who follow it. A later reader's position is lost: the
-- snapshot that it takes is empty, which says the same.
local EMPTIED_FEED_S = 10
-- Remove everything of an agent that has no memories left, present or retired: index, name and counters. Its `seq`
-- continues in the agent's next partition, so that a deletion, a cursor or a cached sample that began
-- earlier never mistakes a later memory for an earlier one.
-- `is_drifted`: do so even if the counters are above zero, because Redis evicted or expired memories.
-- Returns 1 if the agent was removed.
local function remove_emptied(partition, is_drifted)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if not agent then
    return 0
  end
  local found = redis.pcall('HMGET', partition, 'memories', 'seq', 'retired')
  local names, last = redis.pcall('SCARD', 'episodic_agents'), redis.pcall('GET', 'episodic_seq')
  if found.err or type(names) == 'table' or type(last) == 'table' then
    return 0 -- a key of another type is there
  end
  local is_empty = is_drifted or tonumber(found[1] or 0) <= 0
  -- An earlier release kept no counters, so the index decides.
  local indexed = is_empty and indexed_memories(agent)
  if indexed ~= 0 and not (indexed == -1 and not found[2]) then
    return 0
  end
  if tonumber(found[3] or 0) > 0 and may_have_retired(agent) then
    return 0
  end
  local index = 'episodic_memory_idx:{' .. agent .. '}'
  redis.pcall('FT.DROPINDEX', index .. ':flat')
  redis.pcall('FT.DROPINDEX', index .. ':hnsw')
  redis.call('SREM', 'episodic_agents', agent)
  redis.call('UNLINK', partition, 'episodic_decisions:{' .. agent .. '}',
    'episodic_uplift:{' .. agent .. '}', 'episodic_distances:{' .. agent .. '}')
  local promotions = redis.pcall('LRANGE', 'episodic_promotions', 0, -1)
  for i, promotion in ipairs(promotions.err and {} or promotions) do
    if cjson.decode(promotion).agent_id == agent then
      -- From then on none stands; the one before does not come back.
      local at = string.match(promotion, '"at":([^,}]+)')
      local none = '{"at":' .. at .. ',"agent_id":null,"distance":null}'
      redis.call('LSET', 'episodic_promotions', i - 1, none)
    end
  end
  local changes = 'episodic_changes:{' .. agent .. '}'
  if is_drifted then
    -- No entry reports what Redis evicted, so readers must start over.
    redis.call('UNLINK', changes)
  else
    redis.call('EXPIRE', changes, EMPTIED_FEED_S)
  end
  if tonumber(found[2] or 0) > tonumber(last or 0) then
    redis.call('SET', 'episodic_seq', found[2])
  end
  return 1
end
