-- Move a user's mark: never back, at most to the head.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 user  14 offset, or '' for the head if the user has no mark
-- Returns {epoch, head, at of the head, mark, unread, unread mentions, '1' if it was moved}.

local user, wanted = ARGV[13], tonumber(ARGV[14])
if type(redis.pcall('ZCARD', READS)) ~= 'number' then
  redis.call('UNLINK', READS)   -- it is no sorted set: it holds no mark
end
local mark = mark_of(user)
local target = math.min(wanted or mark == 0 and head or 0, head)
local moved = target > mark
if moved then
  redis.call('ZADD', READS, whole(target), user)
  mark = target
  local list = user ~= '*' and redis.pcall('HGET', MENTIONS, user)   -- what names everybody is not read by all
  local read = type(list) == 'string' and places_upto(list, mark) or 0
  if read > 0 and read * PLACE == #list then
    redis.call('HDEL', MENTIONS, user)
  elseif read > 0 then
    redis.call('HSET', MENTIONS, user, string.sub(list, read * PLACE + 1))
  end
end
local count, named = unread(user, mark)
return {epoch, whole(head), at_head, whole(mark), count, named, moved and '1' or '0'}
