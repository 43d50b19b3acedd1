-- Take over when an agent's experiences left the memory, where that was later than what is known.
-- KEYS[1]  the hash of retirements
-- ARGV     fields and moments (unix seconds), alternately
-- Returns 1.
for i = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if not known or tonumber(known) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
