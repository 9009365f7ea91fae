-- Read a page of the events of applications, from one moment.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 name, or '' for all  14 before, an offset or ''  15 after, an offset or ''  16 limit
-- Returns {epoch, head, at of the head, '1' if more lies beyond, {{offset, entry or false} ...}}, oldest first.

local name, before, after, limit = ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])
local function bound(offset)
  return string.format('%s %016.0f', name, offset)
end
local lowest = '[' .. bound(math.max(floor, after or 0) + 1)
local highest = '(' .. (before and bound(before) or name .. ' :')   -- a colon comes behind all digits
local upwards = after and not before
local found
if upwards then
  found = redis.call('ZRANGEBYLEX', BASE .. 'records', lowest, highest, 'LIMIT', 0, limit + 1)
else
  found = redis.call('ZREVRANGEBYLEX', BASE .. 'records', highest, lowest, 'LIMIT', 0, limit + 1)
end
local count, page = math.min(#found, limit), {}
for number = 1, count do
  local offset = tonumber(string.match(found[number], ' (%d+)', #name + 1))
  page[upwards and number or count + 1 - number] = {whole(offset), (entry_at(offset))}
end
return {epoch, whole(head), at_head, #found > limit and '1' or '0', page}
