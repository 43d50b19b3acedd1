#!lua flags=allow-oom
-- Hold a background job's lock. The job may be what makes room in a full Redis.
-- KEYS[1]  the lock
-- ARGV     SET's value and options
-- Returns nil if the options keep the lock as it is.
return redis.call('SET', KEYS[1], unpack(ARGV))
