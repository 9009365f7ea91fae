-- Read a stretch of a channel's log from one moment; a channel that has no epoch gets one.
--
-- KEYS  1 meta  2 log  3 order
-- ARGV  1 epoch for a channel that has none  2 after, an offset  3 limit  4 oldest `at` kept, ms
-- Returns {epoch, head, floor, {{id, {field, value ...}} ...}}.

local META, LOG, ORDER = KEYS[1], KEYS[2], KEYS[3]

local function whole(number)
  return string.format('%.0f', number)
end

local state = redis.call('HMGET', META, 'epoch', 'head', 'floor')
local epoch, head, floor = state[1], tonumber(state[2] or 0), tonumber(state[3] or 0)
if not epoch or (head > floor and redis.call('EXISTS', LOG) == 0) then
  epoch, head, floor = ARGV[1], 0, 0
  redis.call('UNLINK', LOG, ORDER)
  redis.call('HSET', META, 'epoch', epoch, 'head', 0, 'floor', 0)
end

-- A channel that nobody writes to ages too: a look at the first entry, and a batch where that one is too old.
local function is_aged(entry)
  local values = entry[2]
  return tonumber(values[#values]) < tonumber(ARGV[4])
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

local after, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local entries = {}
if limit > 0 and after >= floor and after < head then
  entries = redis.call('XRANGE', LOG, whole(after + 1) .. '-0', '+', 'COUNT', limit)
end
return {epoch, whole(head), whole(floor), entries}
