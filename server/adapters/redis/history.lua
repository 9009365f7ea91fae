-- Read a page of messages in their current state, from one moment.
--
-- KEYS  1 meta  2 order  3 log
-- ARGV  1 epoch for a channel that has none  2 before, an offset or ''  3 after, an offset or ''  4 limit
--       5 prefix of the channel's message keys
-- Returns {epoch, head, '1' where more lies beyond, {{field, value ...} ...}}, oldest first.

local META, ORDER, LOG = KEYS[1], KEYS[2], KEYS[3]

local state = redis.call('HMGET', META, 'epoch', 'head', 'floor')
local epoch, head, floor = state[1], tonumber(state[2] or 0), tonumber(state[3] or 0)
if not epoch or (head > floor and redis.call('EXISTS', LOG) == 0) then
  epoch, head, floor = ARGV[1], 0, 0
  redis.call('UNLINK', LOG, ORDER)
  redis.call('HSET', META, 'epoch', epoch, 'head', 0, 'floor', 0)
end

local before, after, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lowest = '(' .. string.format('%.0f', math.max(floor, after or 0))
local highest = before and ('(' .. string.format('%.0f', before)) or '+inf'
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
  messages[place] = redis.call('HGETALL', ARGV[5] .. id)
end
return {epoch, string.format('%.0f', head), more and '1' or '0', messages}
