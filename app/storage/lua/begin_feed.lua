-- Return a position from which an agent's changes can be followed.
-- KEYS[1]  stream of the agent's changes
-- KEYS[2]  hash of the partition
-- ARGV[1]  how many entries the change feed keeps
-- Returns the id of the last entry; 0-0 for an agent without memories. If the memories are older than
-- the feed, a first entry is added.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
  return last[1]
elseif redis.call('EXISTS', KEYS[2]) == 1 then
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'begin', '')
end
return '0-0'
