-- Count the fields of hashes.
--
-- KEYS  hashes
-- Returns {number of a hash, its fields, ...} of those that have any.

local found = {}
for number, key in ipairs(KEYS) do
  local fields = redis.pcall('HLEN', key)   -- another kind of key must not hide the others
  if type(fields) == 'number' and fields > 0 then
    found[#found + 1], found[#found + 2] = number, fields
  end
end
return found
