-- Take over when an agent's experiences left the memory, and which number new partitions continue from,
-- where that is later or higher than what is known.
-- KEYS[1]  the hash of retirements
-- KEYS[2]  the highest `seq` of all removed partitions
-- ARGV[1]  that of the agent's former group
-- ARGV[2..] fields and moments (unix seconds), alternately
-- Returns 1.
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[2], ARGV[1])
end
for i = 2, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if not known or tonumber(known) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
