-- Write a hash whose fields expire, unless another attempt at the agent's move has begun or ended.
-- KEYS[1]  the hash of what holds agents' writes back
-- KEYS[2]  the hash to write
-- ARGV[1]  the agent
-- ARGV[2]  what must hold its writes back here
-- ARGV[3]  when the whole hash expires, unix milliseconds; -1: never
-- ARGV[4..] for each field its name, its value, and when it expires; -1: never
-- Returns 1; 0 if something else holds the writes back: nothing was done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('UNLINK', KEYS[2])
for i = 4, #ARGV, 3 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  if tonumber(ARGV[i + 2]) > 0 then
    redis.call('HPEXPIREAT', KEYS[2], ARGV[i + 2], 'FIELDS', 1, ARGV[i])
  end
end
if tonumber(ARGV[3]) > 0 then
  redis.call('PEXPIREAT', KEYS[2], ARGV[3])
end
return 1
