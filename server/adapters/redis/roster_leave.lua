-- Enter users no longer, behind roster.lua. A replica has one holder, and for a while those that it had before.
--
-- KEYS  for each holder: the channels of it, whether it is dead  (presence_keys.py, `held`)
-- ARGV  5 how many holders  then the holders  then the users
-- Returns {epoch, version, count, changes}, or {'dead'} if the first holder is. The entries of dead holders are the reaper's.

local HOLDERS, users = tonumber(ARGV[5]), {}
if redis.call('EXISTS', KEYS[5]) == 1 then
  return {'dead'}
end
for word = 6 + HOLDERS, #ARGV do
  users[#users + 1] = ARGV[word]
end
local found, gone, entries, kept, held = redis.call('HMGET', BY, unpack(users)), {}, {}, {}, {}
local living = {}
for number = 1, HOLDERS do
  living[number] = redis.call('EXISTS', KEYS[3 + 2 * number]) == 0
  held[number] = 0
end
for index, user in ipairs(users) do
  local entry = found[index]
  local left = entry
  for number = 1, HOLDERS do
    local holder = ARGV[5 + number]
    if left and living[number] and has(left, holder) then
      held[number] = held[number] + 1
      left = without(left, holder)
    end
  end
  if entry and not left then
    gone[#gone + 1], entries[#entries + 1] = user, entry
  elseif left ~= entry then
    kept[#kept + 1], kept[#kept + 2] = user, left
  end
end
local left = remove(gone, entries)
for number = 1, HOLDERS do
  if held[number] > 0 and redis.call('HINCRBY', KEYS[2 + 2 * number], CHANNEL, -held[number]) <= 0 then
    redis.call('HDEL', KEYS[2 + 2 * number], CHANNEL)
  end
end
if #kept > 0 then
  redis.call('HSET', BY, unpack(kept))
end
return conclude(left, {})
