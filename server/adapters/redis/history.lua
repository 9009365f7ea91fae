-- Read a page of messages in their current state, from one moment.
--
-- KEYS  1-3 as in channel.lua
-- ARGV  1-4 as in channel.lua  5 before, an offset or ''  6 after, an offset or ''  7 limit
--       8 prefix of the channel's message keys
-- Returns {epoch, head, '1' where more lies beyond, {{field, value ...} ...}}, oldest first.

local before, after, limit = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local lowest = '(' .. whole(math.max(floor, after or 0))
local highest = before and ('(' .. whole(before)) or '+inf'
local upwards = after and not before
local ids
if upwards then
  ids = redis.call('ZRANGEBYSCORE', ORDER, lowest, highest, 'LIMIT', 0, limit + 1)
else
  ids = redis.call('ZREVRANGEBYSCORE', ORDER, highest, lowest, 'LIMIT', 0, limit + 1)
end
local more = #ids > limit
if more then
  ids[#ids] = nil
end

local messages = {}
for index, id in ipairs(ids) do
  local place = upwards and index or #ids + 1 - index
  messages[place] = redis.call('HGETALL', ARGV[8] .. id)
end
return {epoch, whole(head), more and '1' or '0', messages}
