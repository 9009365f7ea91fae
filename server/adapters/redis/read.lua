-- Read a stretch of a channel's log from one moment.
--
-- KEYS  1-3 as in channel.lua
-- ARGV  1-4 as in channel.lua  5 after, an offset  6 limit  7 oldest `at` kept, ms
-- Returns {epoch, head, at of the head, floor, {{id, {field, value ...}} ...}}.

-- A channel that nobody writes to ages too: a look at the first entry, and a batch where that one is too old.
local function is_aged(entry)
  return tonumber(entry[2][#entry[2]]) < tonumber(ARGV[7])
end

local first = redis.call('XRANGE', LOG, whole(floor + 1) .. '-0', '+', 'COUNT', 1)[1]
if first and is_aged(first) then
  for _, old in ipairs(redis.call('XRANGE', LOG, whole(floor + 1) .. '-0', '+', 'COUNT', 1024)) do
    if not is_aged(old) then
      break
    end
    floor = floor + 1
  end
  redis.call('XTRIM', LOG, 'MINID', whole(floor + 1) .. '-0')
  redis.call('HSET', META, 'floor', whole(floor))
end

local after, limit = tonumber(ARGV[5]), tonumber(ARGV[6])
local entries = {}
if limit > 0 and after >= floor and after < head then
  entries = redis.call('XRANGE', LOG, whole(after + 1) .. '-0', '+', 'COUNT', limit)
end
return {epoch, whole(head), redis.call('HGET', META, 'at'), whole(floor), entries}
