-- Let a user follow a channel.
--
-- KEYS  the channels that the user follows
-- ARGV  channel, the most channels, 'look' to write nothing
-- Returns 1 if that is new, 0 if the user follows it, -1 if there are too many.

if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 0
elseif redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return -1
elseif ARGV[3] == 'look' then
  return 1
end
return redis.call('SADD', KEYS[1], ARGV[1])
