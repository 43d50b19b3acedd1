#!lua flags=allow-oom
-- Keep the places of agents that have none yet, also in a full home: other groups may have room.
-- KEYS[1]  hash of the agents' places
-- ARGV     agents and groups, alternately
-- Returns the groups of these agents, in order.
local places = {}
for i = 1, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
  places[#places + 1] = redis.call('HGET', KEYS[1], ARGV[i])
end
return places
