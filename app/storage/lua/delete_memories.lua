#!lua flags=allow-oom
-- Delete memories of one partition, or retire experiences.
-- KEYS[1]  hash of the partition
-- KEYS[2..] hashes of memories
-- ARGV[1]  how many entries the change feed keeps
-- ARGV[2]  unix seconds: now, when they retire; empty: they are deleted
-- Returns how many were removed.
-- include remove_memories
require_counters(KEYS[1])
require_feed(KEYS[1])
return remove_memories(KEYS[1], { unpack(KEYS, 2) }, ARGV[1], ARGV[2])
