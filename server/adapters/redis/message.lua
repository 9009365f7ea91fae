-- Read one message in its current state.
--
-- KEYS  1 meta  2 order  3 the message
-- ARGV  1 message id
-- Returns {field, value ...}, empty where there is none (any more).

local offset = redis.call('ZSCORE', KEYS[2], ARGV[1])
local floor = redis.call('HGET', KEYS[1], 'floor')
if not offset or tonumber(offset) <= tonumber(floor or 0) then
  return {}
end
return redis.call('HGETALL', KEYS[3])
