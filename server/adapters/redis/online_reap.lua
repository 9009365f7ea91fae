-- Remove some of the sessions of a dead holder.
--
-- KEYS  1 sessions  2 when users were seen (presence_keys.py, `online`)  3 the users of the holder (keys.py, `counted`)
-- ARGV  1 '' for Redis' time, or the time, ms  2 the holder  3 where to go on, at first '0'  4 how many users to look at
-- Returns {where to go on, '0' at the end; the time; the users that went offline ...}.

local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local cursor, found = unpack(redis.call('HSCAN', KEYS[3], ARGV[3], 'COUNT', ARGV[4]))
local answer = {cursor, now}
for index = 1, #found, 2 do
  local user, parts, had = found[index], {}, false
  redis.call('HDEL', KEYS[3], user)   -- first, since a full Redis refuses nothing after it
  for holder, number in string.gmatch(redis.call('HGET', KEYS[1], user) or '', '([^=,]+)=(%d+)') do
    if holder == ARGV[2] then
      had = true
    else
      parts[#parts + 1] = holder .. '=' .. number
    end
  end
  if #parts > 0 then
    redis.call('HSET', KEYS[1], user, table.concat(parts, ','))
  elseif had then
    redis.call('HDEL', KEYS[1], user)
    redis.call('ZADD', KEYS[2], now, user)
    answer[#answer + 1] = user
  end
end
return answer
