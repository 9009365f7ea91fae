-- Read the heads of rosters. KEYS: for each, the users by time, epoch and version (presence_keys.py, `roster`).
-- Returns for each: epoch and version, or false; count.
local found = {}
for index = 1, #KEYS, 2 do
  found[index], found[index + 1] = redis.call('GET', KEYS[index + 1]), redis.call('ZCARD', KEYS[index])
end
return found
