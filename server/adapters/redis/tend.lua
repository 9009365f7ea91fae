-- Tend a channel that nobody may be asking for: remove what is too old, in a step, and forget the channel once all its
-- events and keys are. Works on a full Redis: it frees before it writes.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 events to remove, at most
-- Returns {events removed, '1' if more is to do, '1' if the clocks agree}.

local removed, limit = 0, tonumber(ARGV[13])
local beside   -- whether more is to be removed beside the log
if head > 0 then
  local before, erased, kept = trimmed, erasing, windows
  seldom().drop_windows()
  if floor > trimmed then
    beside = seldom().trim(limit)
  elseif floor == head then
    beside = seldom().drop_beside()
  end
  seldom().erase_edits(ERASE_LIMIT)
  removed = trimmed - before
  if AGEING and trimmed == head and not beside and windows == '-' and told < OLDEST - KEY_LIFE then
    seldom().forget()
  elseif removed > 0 or erased ~= erasing or kept ~= windows then
    save()
  end
end
return {whole(removed), (floor > trimmed or beside or erasing ~= '-') and '1' or '0', AGEING and '1' or '0'}
