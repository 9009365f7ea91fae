-- Append one draft: judge it, give it the next offset, write the event and the message's state, trim. All or nothing.
--
-- KEYS  1 meta  2 log  3 order  4 the message  5 what became of the idempotency key (of a post with one)
-- ARGV  1 kind  2 epoch for a channel that has none  3 at, ms  4 events kept  5 oldest `at` kept, ms
--       6 message id  7 prefix of the channel's message keys  8 how long a message's state is kept at the most, ms, then
--       post      9 head (JSON: who, reply_to, key ...)  10 text  11 data (JSON or '')  12 how long the key counts, ms or ''
--       revision  9 text  10 data  11 '1' to keep the old data
-- Returns {outcome, epoch, offset, entry or false[, id, at]}; outcome: ok, duplicate, not_found, conflict.

local META, LOG, ORDER, MESSAGE, SENT = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local kind, at = ARGV[1], ARGV[3]
local TRIM_BATCH = 128

local function whole(number)
  return string.format('%.0f', number)
end

local state = redis.call('HMGET', META, 'epoch', 'head', 'floor')
local epoch, head, floor = state[1], tonumber(state[2] or 0), tonumber(state[3] or 0)
if not epoch or (head > floor and redis.call('EXISTS', LOG) == 0) then
  -- A new channel, or one whose log is lost: another life, in which no old position means anything.
  epoch, head, floor = ARGV[2], 0, 0
  redis.call('UNLINK', LOG, ORDER)
  redis.call('HSET', META, 'epoch', epoch, 'head', 0, 'floor', 0)
end

local function entry_at(offset)
  local found = redis.call('XRANGE', LOG, offset .. '-0', offset .. '-0')
  return found[1] and found[1][2] or false
end

local fields
local offset = whole(head + 1)
if kind == 'post' then
  if ARGV[12] ~= '' then
    local before = redis.call('HMGET', SENT, 'epoch', 'offset', 'id', 'at')
    if before[1] == epoch then
      return {'duplicate', epoch, before[2], entry_at(before[2]), before[3], before[4]}
    end
    redis.call('DEL', SENT)
    redis.call('HSET', SENT, 'epoch', epoch, 'offset', offset, 'id', ARGV[6], 'at', at)
    redis.call('PEXPIRE', SENT, ARGV[12])
  end
  redis.call('HSET', MESSAGE, 'head', ARGV[9], 'text', ARGV[10], 'data', ARGV[11], 'created_at', at,
    'edited_at', '', 'version', 1, 'offset', offset)
  redis.call('PEXPIRE', MESSAGE, ARGV[8])
  redis.call('ZADD', ORDER, offset, ARGV[6])
  fields = {'type', 'created'}
else
  local message = redis.call('HMGET', MESSAGE, 'offset', 'deleted', 'deleted_at')
  if not message[1] or tonumber(message[1]) <= floor or not redis.call('ZSCORE', ORDER, ARGV[6]) then
    return {'not_found', epoch, '0', false}
  end
  if kind == 'revision' then
    if message[2] then
      return {'conflict', epoch, message[2], false}
    end
    redis.call('HSET', MESSAGE, 'text', ARGV[9], 'edited_at', at)
    if ARGV[11] ~= '1' then
      redis.call('HSET', MESSAGE, 'data', ARGV[10])
    end
    redis.call('HINCRBY', MESSAGE, 'version', 1)
    fields = {'type', 'edited'}
  else
    if message[2] then
      return {'duplicate', epoch, message[2], entry_at(message[2]), ARGV[6], message[3]}
    end
    redis.call('HDEL', MESSAGE, 'text', 'data')
    redis.call('HSET', MESSAGE, 'deleted', offset, 'deleted_at', at)
    fields = {'type', 'deleted', 'id', ARGV[6]}
  end
end

if fields[2] ~= 'deleted' then
  for _, value in ipairs(redis.call('HGETALL', MESSAGE)) do
    fields[#fields + 1] = value
  end
end
fields[#fields + 1] = 'at'
fields[#fields + 1] = at
redis.call('XADD', LOG, offset .. '-0', unpack(fields))
head = head + 1

-- Trim a prefix: by count, then by age, two entries for the one that came.
local kept_floor = math.max(floor, head - tonumber(ARGV[4]))
local aged = redis.call('XRANGE', LOG, whole(kept_floor + 1) .. '-0', '+', 'COUNT', 2)
for _, old in ipairs(aged) do
  local values = old[2]
  if tonumber(values[#values]) >= tonumber(ARGV[5]) then
    break
  end
  kept_floor = kept_floor + 1
end
if kept_floor > floor then
  redis.call('XTRIM', LOG, 'MINID', whole(kept_floor + 1) .. '-0')
end
local gone = redis.call('ZRANGEBYSCORE', ORDER, '-inf', whole(kept_floor), 'LIMIT', 0, TRIM_BATCH)
for _, id in ipairs(gone) do
  redis.call('UNLINK', ARGV[7] .. id)
  redis.call('ZREM', ORDER, id)
end
redis.call('HSET', META, 'head', whole(head), 'floor', whole(kept_floor))
return {'ok', epoch, offset, fields}
