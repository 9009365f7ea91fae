-- Read a user's mark in a channel.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 user  14 '1' for the last message, too
-- Returns {epoch, head, at of the head, mark, unread, unread mentions}, and if it is asked for and there is one, the
-- message that was created last, as in message.lua.

local mark = mark_of(ARGV[13])
local count, named = unread(ARGV[13], mark)
local last
if ARGV[14] == '1' then
  local id, offset = unpack(redis.call('ZREVRANGE', ORDER, 0, 0, 'WITHSCORES'))
  offset = tonumber(offset)
  if id and offset > floor then
    local state = parts().state_reader()(id, offset)
    last = {id, whole(offset), state, state and string.byte(state) == 100 and entry_at(offset) or nil}
  end
end
return {epoch, whole(head), at_head, whole(mark), count, named, last}
