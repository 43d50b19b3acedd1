-- Forget the decisions of an agent that has no memory left, and their outcomes.
local function forget_decisions(partition)
  local agent = string.match(partition, '^episodic_partition:{(.*)}$')
  if agent and tonumber(redis.call('HGET', partition, 'memories') or 0) <= 0 then
    redis.call('UNLINK', 'episodic_decisions:{' .. agent .. '}', 'episodic_uplift:{' .. agent .. '}')
  end
end
