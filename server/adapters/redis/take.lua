-- Remove entries of a stream.
--
-- KEYS  1 the stream
-- ARGV  ids
-- Returns the entries that were there.

local taken = {}
for _, id in ipairs(ARGV) do
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  if found then
    redis.call('XDEL', KEYS[1], id)
    taken[#taken + 1] = found
  end
end
return taken
