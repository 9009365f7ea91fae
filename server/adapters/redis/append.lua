-- Append one draft: judge it, give it the next offset, write the event and what it changes, trim. All or nothing.
--
-- KEYS  1-3 as in channel.lua  4 what became of the idempotency key, of a post with one; else the state of the message
-- ARGV  1-7 as in channel.lua  8 kind  9 at, ms  10 events kept  11 message id
--       post      12 head (JSON: who, reply_to, key ...)  13 text  14 data (JSON or '')  15 how long the key counts, ms
--       revision  12 text  13 data  14 '1' to keep the old data
-- Returns {outcome, epoch, offset, at, id, entry or false}; outcome: ok, duplicate, not_found, conflict. What the
-- caller knows already is not sent back: of a new post, only its place.

local kind, at, id = ARGV[8], ARGV[9], ARGV[11]
local fields
local offset = whole(head + 1)

if kind == 'post' then
  local key, life = KEYS[4], tonumber(ARGV[15])
  local sent = key and redis.call('GET', key)
  if sent then
    local was_epoch, was, was_at, was_id, ends = string.match(sent, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
    local place = tonumber(was)
    -- One that the log does not know has been lost with it, and is written again.
    local known = (was_epoch == epoch and place <= floor) or redis.call('ZSCORE', ORDER, was_id) == was
    if known and tonumber(ends) > NOW then
      return {'duplicate', epoch, was, was_at, was_id, place > floor and entry_at(place)}
    end
  end
  if redis.call('ZADD', ORDER, 'NX', offset, id) == 0 then
    if tonumber(redis.call('ZSCORE', ORDER, id)) > floor then
      return {'conflict', epoch}
    end
    redis.call('ZADD', ORDER, offset, id)   -- one that has been dropped, and is not yet removed
    redis.call('UNLINK', STATES .. id)
  end
  if key then
    redis.call('SET', key, table.concat({epoch, offset, at, id, whole(NOW + life)}, ' '), 'PX', life)
  end
  fields = {'created', ARGV[12], 'text', ARGV[13], 'data', ARGV[14]}
else
  local STATE = KEYS[4]
  local place = tonumber(redis.call('ZSCORE', ORDER, id) or 0)
  local creation = place > floor and entry_at(place)
  if not creation then
    return {'not_found', epoch}
  end
  local old = redis.call('HMGET', STATE, 'deleted', 'deleted_at', 'data', 'version')
  if old[1] then
    if kind == 'revision' then
      return {'conflict', epoch}
    end
    return {'duplicate', epoch, old[1], old[2], id, false}
  end
  if kind == 'revision' then
    local data = ARGV[13]
    if ARGV[14] == '1' then
      data = old[3] or creation[6]
    end
    local changed = {'text', ARGV[12], 'data', data, 'edited_at', at, 'version', whole(tonumber(old[4] or 1) + 1)}
    redis.call('HSET', STATE, unpack(changed))
    fields = {'edited', creation[2], 'offset', whole(place), 'created_at', creation[#creation - 2], unpack(changed)}
  else
    redis.call('HDEL', STATE, 'text', 'data')
    redis.call('HSET', STATE, 'deleted', offset, 'deleted_at', at)
    fields = {'deleted', id}
  end
  redis.call('PEXPIRE', STATE, MAX_AGE + MARGIN)
end

for _, value in ipairs({'at', at, 'written', whole(NOW)}) do
  fields[#fields + 1] = value
end
redis.call('XADD', LOG, offset .. '-0', unpack(fields))
if head == floor then
  first = NOW
end
head = head + 1
if NOW - renewed > RENEWAL then
  renewed = NOW
  redis.call('PEXPIRE', LOG, MAX_AGE + MARGIN)
  redis.call('PEXPIRE', ORDER, MAX_AGE + MARGIN)
end
local before = floor
floor = math.max(floor, head - tonumber(ARGV[10]))
at_head = at
save()
if floor > before then
  trim(before)
end
return {'ok', epoch, offset, at, id, kind ~= 'post' and fields}
