-- Renews the lease of a replica, or ends it. KEYS: leases (ZSET), rows (HASH). ARGV: id, how long the lease lasts (ms;
-- 0: it ends), how long the replica runs (ms), the row. Rows of dead replicas are removed on the way.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
if ARGV[2] == '0' then dead[#dead + 1] = ARGV[1] end
for _, id in ipairs(dead) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end
if ARGV[2] ~= '0' then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f %.0f %s', now - ARGV[3], now, ARGV[4]))
end
return redis.status_reply('OK')
