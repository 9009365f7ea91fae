-- Append one draft: judge it, give it the next offset, write the event and the message's state, trim. All or nothing.
--
-- KEYS  1-3 as in channel.lua  4 of a creation with an idempotency key: keys.sent; of a change: the message's state
-- ARGV  1-7 as in channel.lua  8 kind  9 at, ms  10 events kept  11 message id
--       creation  12 content (entries.py)  13 how long the key counts, ms
--       revision  12 text  13 data  14 '1' to keep the old data
-- Returns {outcome, epoch, offset, at, id, entry or false}; outcome: ok, duplicate, not_found, conflict. Nothing is
-- sent back that the caller knows already: of a creation, only its position.

local kind, at, id = ARGV[8], ARGV[9], ARGV[11]
local offset, written = whole(head + 1), whole(NOW)
-- A state is removed together with its creation, but a lost log leaves states behind, which then expire. That takes far
-- longer than a creation is kept, even if an operator comes to keep it longer: without its state, a deleted message
-- would be shown again.
local STATE_LIFE = 4 * MAX_AGE + MARGIN
local entry

local function packed(...)
  return table.concat({...}, ' ')
end

-- Return the next state of a message: the parts that never change, the new text, the new data or the old.
local function revised(present)
  local created_offset, created_at, version, head_size, data_size, from =
    string.match(present, '^[ce] %d+ %d+ (%d+) (%d+) (%d+) (%d+) (%d+) ()')
  local text, data = ARGV[12], ARGV[13]
  local data_from = from + head_size
  if ARGV[14] == '1' then
    data = string.sub(present, data_from, data_from + data_size - 1)
  end
  return packed('e', at, written, created_offset, created_at, whole(version + 1), head_size, #data,
    string.sub(present, from, data_from - 1) .. data .. text)
end

if kind == 'creation' then
  local key, life = KEYS[4], tonumber(ARGV[13])
  local sent = key and redis.call('GET', key)
  if sent then
    local was_epoch, was, was_at, was_id, ends = string.match(sent, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
    local was_offset = tonumber(was)
    -- A message that the log does not know has been lost with an earlier log, and is written again.
    local known = (was_epoch == epoch and was_offset <= floor) or redis.call('ZSCORE', ORDER, was_id) == was
    if known and tonumber(ends) > NOW then
      return {'duplicate', epoch, was, was_at, was_id, was_offset > floor and entry_at(was_offset)}
    end
  end
  if redis.call('ZADD', ORDER, 'NX', offset, id) == 0 then
    if tonumber(redis.call('ZSCORE', ORDER, id)) > floor then
      return {'conflict', epoch}
    end
    redis.call('ZADD', ORDER, offset, id)   -- that message was dropped, and is not removed yet
    redis.call('UNLINK', STATES .. id)
  end
  if key then
    redis.call('SET', key, packed(epoch, offset, at, id, whole(NOW + life)), 'PX', life)
  end
  entry = packed('c', at, written, offset, at, '1', ARGV[12])
else
  local created_offset = tonumber(redis.call('ZSCORE', ORDER, id) or 0)
  local creation = created_offset > floor and entry_at(created_offset)
  if not creation then
    return {'not_found', epoch}
  end
  local present = redis.call('GET', KEYS[4]) or creation
  local deleted, deleted_at = string.match(present, '^d (%d+) (%d+)$')
  if kind == 'revision' then
    if deleted then
      return {'conflict', epoch}
    end
    entry = revised(present)
    redis.call('SET', KEYS[4], entry, 'PX', STATE_LIFE)
  else
    if deleted then
      return {'duplicate', epoch, deleted, deleted_at, id, false}
    end
    entry = packed('d', at, written, id)
    redis.call('SET', KEYS[4], packed('d', offset, at), 'PX', STATE_LIFE)
  end
end

redis.call('XADD', LOG, offset .. '-0', 'e', entry)
if head == floor then
  first = NOW
end
head, at_head = head + 1, at
if NOW - renewed > RENEWAL then
  renewed = NOW
  redis.call('PEXPIRE', LOG, MAX_AGE + MARGIN)
  redis.call('PEXPIRE', ORDER, MAX_AGE + MARGIN)
end
local before = floor
floor = math.max(floor, head - tonumber(ARGV[10]))
save()
if floor > before then
  trim(before)
end
return {'ok', epoch, offset, at, id, kind ~= 'creation' and entry}
