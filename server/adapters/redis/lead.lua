-- Take or renew a lead, or end it.
--
-- KEYS  1 the lead
-- ARGV  1 the replica  2 for how long, ms; 0 ends it
-- Returns 1 unless another replica leads.

local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])   -- a full Redis refuses nothing after it
if ARGV[2] ~= '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
