-- Renew the leases of holders, or set their ends. KEYS: the holders (presence_keys.py). ARGV: '' for Redis' time, or the time, ms;
-- how long the leases last, ms; a holder whose lease begins, or ''; the others.
-- Returns for each of the others 1 if its lease had not ended; else it stays ended. One that Redis does not know, because it
-- was emptied, may have entered users since: it is noted as ended, so that they are removed.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ends, held = string.format('%.0f', now + ARGV[2]), {}
for index = 4, #ARGV do
  local was = redis.call('ZSCORE', KEYS[1], ARGV[index])
  held[index - 3] = was and tonumber(was) > now and 1 or 0
  if held[index - 3] == 1 then
    redis.call('ZADD', KEYS[1], ends, ARGV[index])
  elseif not was then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[index])
  end
end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[1], ends, ARGV[3])
end
return held
