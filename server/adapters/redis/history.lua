-- Read a page of messages in their current state, from one moment.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 before, an offset or ''  14 after, an offset or ''  15 limit
-- Returns {epoch, head, at of the head, '1' if more lies beyond, {{id, offset, state or false} ...}}, oldest first; see message.lua.
-- The state is false if somebody has cut the creation out of the stream.

local before, after, limit = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local lowest = '(' .. whole(math.max(floor, after or 0))
local highest = before and ('(' .. whole(before)) or '+inf'
local upwards = after and not before
local found   -- {id, offset, id, offset ...}
if upwards then
  found = redis.call('ZRANGEBYSCORE', ORDER, lowest, highest, 'WITHSCORES', 'LIMIT', 0, limit + 1)
else
  found = redis.call('ZREVRANGEBYSCORE', ORDER, highest, lowest, 'WITHSCORES', 'LIMIT', 0, limit + 1)
end
local count = math.min(#found / 2, limit)

local page, state_of = {}, parts().state_reader()
for number = 1, count do
  local id, offset = found[2 * number - 1], found[2 * number]
  local index = upwards and number or count + 1 - number
  page[index] = {id, offset, state_of(id, tonumber(offset))}
end
return {epoch, whole(head), at_head, #found / 2 > limit and '1' or '0', page}
