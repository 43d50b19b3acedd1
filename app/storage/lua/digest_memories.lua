#!lua flags=no-writes
-- A digest of everything that is stored of each memory.
-- KEYS     hashes of memories
-- Returns for each the SHA-1 of its fields and values; empty if it does not exist.
local digests = {}
for i = 1, #KEYS do
  local fields = redis.call('HKEYS', KEYS[i])
  table.sort(fields)
  local parts = {}
  for _, field in ipairs(fields) do
    local value = redis.call('HGET', KEYS[i], field)
    parts[#parts + 1] = #field .. ':' .. field .. '=' .. #value .. ':' .. value
  end
  digests[i] = #fields > 0 and redis.sha1hex(table.concat(parts)) or ''
end
return digests
