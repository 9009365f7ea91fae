-- Enter users, behind roster.lua.
--
-- KEYS  4 the channels of the holder  5 whether it is dead  (presence_keys.py, `held`)
-- ARGV  5 the holder  6 a head that was seen, 'epoch version': a roster behind it gets a new epoch  then for each user:
--       the user, the name
-- Returns {epoch, version, count, changes}, or {'dead'}.

if redis.call('EXISTS', KEYS[5]) == 1 then
  return {'dead'}
end
local HOLDER, users, now = ARGV[5], {}, store_time()
BEHIND = ARGV[6]
for word = 7, #ARGV, 2 do
  users[#users + 1] = ARGV[word]
end
local found, members, entries, joined = redis.call('HMGET', BY, unpack(users)), {}, {}, {}
for index, user in ipairs(users) do
  local entry, name = found[index], ARGV[6 + 2 * index]
  if not entry then
    members[#members + 1], members[#members + 2] = now, user
    joined[#joined + 1] = present(user, name, now)
    entries[#entries + 1], entries[#entries + 2] = user, HOLDER .. ' ' .. name
  elseif not has(entry, HOLDER) then
    entries[#entries + 1], entries[#entries + 2] = user, HOLDER .. ',' .. entry
  end
end
if #entries > 0 then
  redis.call('HINCRBY', KEYS[4], CHANNEL, #entries / 2)
  redis.call('HSET', BY, unpack(entries))
end
if #members > 0 then
  redis.call('ZADD', WHO, unpack(members))
end
return conclude({}, joined)
