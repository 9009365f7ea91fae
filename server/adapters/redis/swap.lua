-- Replace the value of a field of a hash, if it is still what the caller has seen; then remove other keys.
--
-- KEYS  1 hash  2 ... keys to remove
-- ARGV  1 field  2 its value, '' for none  3 its new value, '' for none
-- Returns 1 if it was replaced.

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
if #KEYS > 1 then
  redis.call('UNLINK', unpack(KEYS, 2))
end
return 1
