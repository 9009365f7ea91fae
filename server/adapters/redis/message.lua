-- Read one message in its current state.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-11 as in channel.lua  12 message id
-- Returns {id, offset, state (entries.py)}; {} if there is none (any more).

local offset = tonumber(redis.call('ZSCORE', ORDER, ARGV[12]) or 0)
local state = offset > floor and (redis.call('HGET', STATE, ARGV[12]) or entry_at(offset))
if not state then
  return {}
end
return {ARGV[12], whole(offset), state}
