-- Read one message in its current state.
--
-- KEYS  1-3 as in channel.lua  4 the message's state
-- ARGV  1-7 as in channel.lua  8 message id
-- Returns {id, offset, state (entries.py)}; {} if there is none (any more).

local offset = tonumber(redis.call('ZSCORE', ORDER, ARGV[8]) or 0)
local creation = offset > floor and entry_at(offset)
if not creation then
  return {}
end
return {ARGV[8], whole(offset), redis.call('GET', KEYS[4]) or creation}
