-- Move the debt of a channel to an endpoint, if it is still where the caller has seen it.
--
-- KEYS  1-7 as in channel.lua  8 the debts of the partition to the endpoint
-- ARGV  1-12 as in channel.lua  13 the debt's epoch  14 its offset  15 the epoch of its new place  16 the offset
-- Returns '1' if it was moved. A debt that has reached the head is gone.

local debts, place = KEYS[8], ARGV[13] .. ' ' .. ARGV[14]
local debt = redis.call('HGET', debts, CHANNEL)
if not debt or debt ~= place and string.sub(debt, 1, #place + 1) ~= place .. ' ' then
  return '0'
end
local most = head
if ARGV[13] ~= epoch then
  -- Out of an epoch that is over. The caller may not know that events were written since: it must not pass them over,
  -- unless they are gone.
  local begins = string.match(debt, ' (%d+)$', #place + 1)
  most = math.max(floor, math.min(head, tonumber(begins) or tonumber(ARGV[14])))
end
if ARGV[15] ~= epoch or tonumber(ARGV[16]) > most then
  return '0'
end
redis.call('HDEL', debts, CHANNEL)   -- first, since a full Redis refuses nothing after it
if tonumber(ARGV[16]) < head then
  redis.call('HSET', debts, CHANNEL, epoch .. ' ' .. ARGV[16])
end
return '1'
