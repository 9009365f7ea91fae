-- Returns the ids and rows of the replicas whose leases have not ended, one behind the other; an id without a row is
-- left out. KEYS: leases (ZSET), rows (HASH). ARGV: how many at most.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'LIMIT', 0, ARGV[1])) do
  local row = redis.call('HGET', KEYS[2], id)
  if row then
    found[#found + 1] = id
    found[#found + 1] = row
  end
end
return found
