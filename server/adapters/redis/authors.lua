-- Check members of the index of authors: those of forgotten channels go, and a channel that is missing in the index of
-- writes is put back, as one that was written to long ago.
--
-- KEYS  1 authors  2 idle  3 ... the meta of each member's channel
-- ARGV  member, channel, member, channel ...
-- Returns how many members went.

local removed = 0
for index = 3, #KEYS do
  local member, channel = ARGV[2 * index - 5], ARGV[2 * index - 4]
  if redis.call('EXISTS', KEYS[index]) == 0 then
    removed = removed + redis.call('ZREM', KEYS[1], member)
  elseif not redis.call('ZSCORE', KEYS[2], channel) then
    redis.call('ZADD', KEYS[2], 'NX', 0, channel)
  end
end
return removed
