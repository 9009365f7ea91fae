-- Read the marks of a channel that are the furthest; of those at the same offset, the first by user.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 limit
-- Returns {user, offset, user, offset ...}, in any order.

local limit = tonumber(ARGV[13])
local found = redis.call('ZREVRANGE', BASE .. 'reads', 0, limit - 1, 'WITHSCORES')
local marks, last = {}, found[#found]   -- the offset that some may share with others that are not found
for index = 1, #found, 2 do
  if found[index + 1] ~= last then
    marks[#marks + 1], marks[#marks + 2] = found[index], whole(math.min(tonumber(found[index + 1]), head))
  end
end
if last then
  local rest = (#found - #marks) / 2
  for _, user in ipairs(redis.call('ZRANGEBYSCORE', BASE .. 'reads', last, last, 'LIMIT', 0, rest)) do
    marks[#marks + 1], marks[#marks + 2] = user, whole(math.min(tonumber(last), head))
  end
end
return marks
