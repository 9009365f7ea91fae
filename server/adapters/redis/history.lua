-- Read a page of messages in their current state, from one moment.
--
-- KEYS  1-3 as in channel.lua
-- ARGV  1-7 as in channel.lua  8 before, an offset or ''  9 after, an offset or ''  10 limit
-- Returns {epoch, head, '1' if more lies beyond, {{id, offset, state or false} ...}}, oldest first; see message.lua.
-- The state is false if somebody has cut the creation out of the stream.

local before, after, limit = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
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

local messages = {}
for number = 1, count do
  local id, offset = found[2 * number - 1], found[2 * number]
  local index = upwards and number or count + 1 - number
  local creation = entry_at(tonumber(offset))
  messages[index] = {id, offset, creation and (redis.call('GET', STATES .. id) or creation)}
end
return {epoch, whole(head), #found / 2 > limit and '1' or '0', messages}
