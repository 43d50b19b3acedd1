-- Fail while the agent moves between groups (app/moves/mover.py): `leaving ATTEMPT UNTIL_MS` holds
-- writes back until that moment, `arriving ATTEMPT` until the agent is here, `moved GROUP` for good.
-- `copying ATTEMPT` and `here` hold nothing back. `here` stays: it shows an outdated attempt at a move
-- to this group that the agent has arrived, even if it has no memories any more.
local function require_here(agent)
  local held = redis.call('HGET', 'episodic_moving', agent)
  if held and held ~= 'here' and string.sub(held, 1, 7) ~= 'copying' then
    local until_ms = string.match(held, '^leaving %S+ (%d+)$')
    local now = redis.call('TIME')
    if not until_ms or now[1] * 1000 + now[2] / 1000 < tonumber(until_ms) then
      error({ err = 'AGENTMOVING ' .. held })
    end
  end
end
