-- Read a slice of a channel's log from one moment.
--
-- KEYS  1-3 as in channel.lua
-- ARGV  1-7 as in channel.lua  8 after, an offset  9 limit
-- Returns {epoch, head, at of the head, floor, {{id, {'e', entry}} ...}}.

local after, limit = tonumber(ARGV[8]), tonumber(ARGV[9])
local slice = {}
if limit > 0 and after >= floor and after < head then
  slice = entries(after + 1, '+', limit)
end
return {epoch, whole(head), at_head, whole(floor), slice}
