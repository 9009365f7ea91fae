-- Set how many sessions users have with a replica. It has one holder, and for a while those that it had before.
--
-- KEYS  1 sessions  2 when users were seen (presence_keys.py, `online`)  then for each holder: its users, whether it is dead
-- ARGV  1 '' for Redis' time, or the time, ms  2 how long a user is remembered, ms  3 how many holders  then the holders
--       then for each user: the user, how many sessions
-- Returns {the time; user, sessions in all ... of those that came online or went offline}, or {'dead'} if the first
-- holder is. The sessions of a user are HOLDER=NUMBER,HOLDER=NUMBER...

local HOLDERS, FORGET = tonumber(ARGV[3]), 100
if redis.call('EXISTS', KEYS[4]) == 1 then
  return {'dead'}
end
local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local mine = {}
for number = 1, HOLDERS do
  mine[ARGV[3 + number]] = KEYS[1 + 2 * number]
end
local changed = {now}
for word = 4 + HOLDERS, #ARGV, 2 do
  local user, sessions = ARGV[word], tonumber(ARGV[word + 1])
  local before, after, parts = 0, sessions, {}
  if sessions > 0 then
    parts[1] = ARGV[4] .. '=' .. ARGV[word + 1]
    redis.call('HSET', KEYS[3], user, sessions)
  else
    redis.call('HDEL', KEYS[3], user)
  end
  for holder, number in string.gmatch(redis.call('HGET', KEYS[1], user) or '', '([^=,]+)=(%d+)') do
    before = before + number
    if not mine[holder] then
      after, parts[#parts + 1] = after + number, holder .. '=' .. number
    elseif holder ~= ARGV[4] then
      redis.call('HDEL', mine[holder], user)
    end
  end
  if after > 0 then
    redis.call('HSET', KEYS[1], user, table.concat(parts, ','))
  elseif before > 0 then
    redis.call('HDEL', KEYS[1], user)
    redis.call('ZADD', KEYS[2], now, user)
  end
  if (before > 0) ~= (after > 0) then
    changed[#changed + 1], changed[#changed + 2] = user, string.format('%.0f', after)
  end
end
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - ARGV[2]), 'LIMIT', 0, FORGET)
if #old > 0 then
  redis.call('ZREM', KEYS[2], unpack(old))
end
return changed
