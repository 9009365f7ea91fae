-- Writes a field of a hash if it is as it was. KEYS: the hash. ARGV: the field, its value ('' if there is none), its new
-- value ('': it goes), how many fields the hash may have (0: any number). Returns what became of it, and the present
-- value: kept, full or changed.
local present = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if present ~= ARGV[2] then return {'changed', present} end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif present == '' and ARGV[4] ~= '0' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return {'full', present}
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return {'kept', ARGV[3]}
