-- Read a slice of a channel's log from one moment.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 after, an offset  14 limit
-- Returns {epoch, head, at of the head, floor, {entry or false ...}}: the entries from after + 1 on. False is a hole:
-- somebody has cut an entry out of the stream.

local after, limit = tonumber(ARGV[13]), tonumber(ARGV[14])
local slice = {}
if limit > 0 and after >= floor and after < head then
  for index = 1, math.min(limit, head - after) do
    slice[index] = false
  end
  for _, found in ipairs(entries(after + 1, whole(after + #slice) .. '-0', limit)) do
    slice[tonumber(string.match(found[1], '^%d+')) - after] = found[2][3] and parts().whole_entry(found[2]) or found[2][2]
  end
  if holes > 0 or erasing ~= '-' then
    for index, entry in ipairs(slice) do
      slice[index] = entry or entry_at(after + index)
      -- Edits of a deleted message that are not removed yet. The message itself may have been dropped since.
      local at, time, created, id = string.match(entry or '', '^e (%d+) (%d+) (%d+) %d+ %d+ %d+ %d+ %d+ %d+ %["([^"]+)"')
      if id and string.find(erasing .. ',', ':' .. id .. ',', 1, true) then
        slice[index] = table.concat({'x', at, time, created, '1', id}, ' ')
      end
    end
  end
end
return {epoch, whole(head), at_head, whole(floor), slice}
