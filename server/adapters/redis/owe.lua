-- Owe all that a channel keeps to an endpoint, unless it is owed something already.
--
-- KEYS  1-7 as in channel.lua  8 the debts of the partition to the endpoint
-- ARGV  1-12 as in channel.lua

if head > floor then
  redis.call('HSETNX', KEYS[8], CHANNEL, epoch .. ' ' .. whole(floor))
end
