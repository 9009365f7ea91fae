-- Read a roster. KEYS: as in roster.lua. ARGV: how many users at most, those that are there longest first.
-- Returns {epoch and version, or false; count; user, since ...; the entries of these}.
local found = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
local users = {}
for index = 1, #found, 2 do
  users[#users + 1] = found[index]
end
local entries = #users > 0 and redis.call('HMGET', KEYS[2], unpack(users)) or {}
return {redis.call('GET', KEYS[3]), redis.call('ZCARD', KEYS[1]), found, entries}
