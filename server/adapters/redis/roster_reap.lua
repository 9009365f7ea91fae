-- Remove some of the entries of a dead holder from a channel, behind roster.lua.
--
-- KEYS  4 the channels of the holder  (presence_keys.py, `held`)
-- ARGV  5 the holder  6 where to go on, at first '0'  7 how many entries to look at
-- Returns {where to go on, '0' at the end; how many users have left; epoch, version, count}.

local HOLDER = ARGV[5]
local cursor, found = unpack(redis.call('HSCAN', BY, ARGV[6], 'COUNT', ARGV[7]))
local gone, entries, kept = {}, {}, {}
for index = 1, #found, 2 do
  local user, entry = found[index], found[index + 1]
  if has(entry, HOLDER) then
    local left = without(entry, HOLDER)
    if left then
      kept[#kept + 1], kept[#kept + 2] = user, left
    else
      gone[#gone + 1], entries[#entries + 1] = user, entry
    end
  end
end
redis.call('PERSIST', WHO)   -- changes nothing, but a full Redis refuses nothing after it
local left = remove(gone, entries)
if #kept > 0 then
  redis.call('HSET', BY, unpack(kept))
end
local held = redis.call('HINCRBY', KEYS[4], CHANNEL, 0 - #gone - #kept / 2)
if held <= 0 or cursor == '0' then
  redis.call('HDEL', KEYS[4], CHANNEL)
  cursor = '0'
end
local epoch, version, count = unpack(conclude(left, {}))
return {cursor, #gone, epoch, version, count}
