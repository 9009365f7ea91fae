-- Read one message in its current state.
--
-- KEYS  1-7 as in channel.lua
-- ARGV  1-12 as in channel.lua  13 message id
-- Returns {id, offset, state (entries.py)}, and of a deleted message, what stands in the place of its creation; {} if
-- there is none (any more).

local offset = tonumber(redis.call('ZSCORE', ORDER, ARGV[13]) or 0)
local state = offset > floor and parts().state_reader()(ARGV[13], offset)
if not state then
  return {}
end
return {ARGV[13], whole(offset), state, string.byte(state) == 100 and entry_at(offset) or nil}
