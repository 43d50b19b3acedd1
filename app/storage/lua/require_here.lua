-- Fail while the agent moves between groups (app/moves/mover.py): `leaving ATTEMPT UNTIL_MS` holds
-- writes back until that moment, `arriving ATTEMPT` until the agent is here, `moved GROUP` for good.
local function require_here(agent)
  local held = redis.call('HGET', 'episodic_moving', agent)
  if held and string.sub(held, 1, 7) ~= 'copying' then
    local until_ms = string.match(held, '^leaving %S+ (%d+)$')
    local now = redis.call('TIME')
    if not until_ms or now[1] * 1000 + now[2] / 1000 < tonumber(until_ms) then
      error({ err = 'AGENTMOVING ' .. held })
    end
  end
end
