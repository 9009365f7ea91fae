-- Read the sessions of users, and when they were seen. KEYS: as in online_count.lua. ARGV: '' for Redis' time, or the
-- time, ms; how long a user is remembered, ms; the users. Returns for each: the sessions or false, the time or false.
local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local users = {unpack(ARGV, 3)}
local sessions, seen, found = redis.call('HMGET', KEYS[1], unpack(users)), redis.call('ZMSCORE', KEYS[2], unpack(users)), {}
for index = 1, #users do
  local at = seen[index]
  found[2 * index - 1] = sessions[index]
  found[2 * index] = at and tonumber(at) >= now - ARGV[2] and string.format('%.0f', at) or false
end
return found
