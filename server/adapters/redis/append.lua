-- Append one draft: judge it, give it the next offset, write the event and the message's state, trim. All or nothing.
--
-- KEYS  1-3 as in channel.lua  4 the message  5 what became of the idempotency key (of a post with one)
-- ARGV  1-4 as in channel.lua  5 kind  6 at, ms  7 events kept  8 oldest `at` kept, ms  9 message id
--       10 prefix of the channel's message keys  11 how long a message's state is kept at the most, ms, then
--       post      12 head (JSON: who, reply_to, key ...)  13 text  14 data (JSON or '')  15 how long the key counts, ms
--       revision  12 text  13 data  14 '1' to keep the old data
-- Returns {outcome, epoch, offset, at[, entry or false, id]}; outcome: ok, duplicate, not_found, conflict. What the
-- caller knows already is not sent back: of a new post, only its place.

local MESSAGE, SENT = KEYS[4], KEYS[5]
local kind, at, id = ARGV[5], ARGV[6], ARGV[9]
local TRIM_BATCH = 128

head = head + 1
local offset = whole(head)
local fields
if kind == 'post' then
  if SENT then
    local before = redis.call('HMGET', SENT, 'offset', 'id', 'at')
    local was = tonumber(before[1] or 0)
    -- One that the log does not know has been lost with it, and is written again.
    if was > 0 and (was <= floor or tonumber(redis.call('ZSCORE', ORDER, before[2]) or 0) == was) then
      return {'duplicate', epoch, before[1], before[3], entry_at(was), before[2]}
    end
    redis.call('HSET', SENT, 'offset', offset, 'id', id, 'at', at)
    redis.call('PEXPIRE', SENT, ARGV[15])
  end
  fields = {'type', 'created', 'head', ARGV[12], 'text', ARGV[13], 'data', ARGV[14], 'created_at', at,
    'edited_at', '', 'version', '1', 'offset', offset, 'at', at}
  redis.call('HSET', MESSAGE, unpack(fields, 3, 16))
  redis.call('PEXPIRE', MESSAGE, ARGV[11])
  redis.call('ZADD', ORDER, offset, id)
else
  local message = redis.call('HMGET', MESSAGE, 'offset', 'deleted', 'deleted_at')
  if not message[1] or tonumber(message[1]) <= floor or not redis.call('ZSCORE', ORDER, id) then
    return {'not_found', epoch, '0', at}
  end
  if kind == 'revision' then
    if message[2] then
      return {'conflict', epoch, message[2], at}
    end
    redis.call('HSET', MESSAGE, 'text', ARGV[12], 'edited_at', at)
    if ARGV[14] ~= '1' then
      redis.call('HSET', MESSAGE, 'data', ARGV[13])
    end
    redis.call('HINCRBY', MESSAGE, 'version', 1)
    fields = redis.call('HGETALL', MESSAGE)
    table.insert(fields, 1, 'edited')
    table.insert(fields, 1, 'type')
  else
    if message[2] then
      return {'duplicate', epoch, message[2], message[3], entry_at(tonumber(message[2])), id}
    end
    redis.call('HDEL', MESSAGE, 'text', 'data')
    redis.call('HSET', MESSAGE, 'deleted', offset, 'deleted_at', at)
    fields = {'type', 'deleted', 'id', id}
  end
  fields[#fields + 1] = 'at'
  fields[#fields + 1] = at
end
redis.call('XADD', LOG, offset .. '-0', unpack(fields))

-- Trim a prefix: by count, then by age, two entries for the one that came.
local kept_floor = math.max(floor, head - tonumber(ARGV[7]))
for _, old in ipairs(redis.call('XRANGE', LOG, whole(kept_floor + 1) .. '-0', '+', 'COUNT', 2)) do
  if tonumber(old[2][#old[2]]) >= tonumber(ARGV[8]) then
    break
  end
  kept_floor = kept_floor + 1
end
if kept_floor > floor then
  redis.call('XTRIM', LOG, 'MINID', whole(kept_floor + 1) .. '-0')
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', ORDER, '-inf', whole(kept_floor), 'LIMIT', 0, TRIM_BATCH)) do
    redis.call('UNLINK', ARGV[10] .. gone)
    redis.call('ZREM', ORDER, gone)
  end
end
redis.call('HSET', META, 'head', offset, 'floor', whole(kept_floor), 'at', at)
return {'ok', epoch, offset, at, kind ~= 'post' and fields or false}
