-- Append one draft: judge it, give it the next offset, write the event and the message's state, trim. All or nothing:
-- if memory is short, Redis refuses the first command that writes.
--
-- KEYS  1-7 as in channel.lua  8 authors
-- ARGV  1-12 as in channel.lua  13 kind  14 at, ms  15 events kept  16 message id
--       creation  17 content (entries.py)  18 digest of author and key, or ''  19 the message id as bytes  20 author
--       revision  17 text  18 data  19 '1' to keep the old data  20 the moderator, or ''
--       deletion  17 the moderator, or ''
-- Returns {outcome, epoch, offset, at, id, entry or false}; outcome: ok, duplicate, not_found, conflict. Nothing is
-- sent back that the caller knows already: of a creation, only its position.

local kind, at, id = ARGV[13], ARGV[14], ARGV[16]
local offset = whole(head + 1)
local RECORD = 32   -- bytes: 7 of the digest, 5 of the offset, 4 of the time in the window, 16 of the message id
local LEVELS = {{128, 4}, {2048, 7}, {16384, 10}, {math.huge, 14}}   -- up to so many keys, bits of the digest in a field
local entry
written = math.max(NOW, written)
if floor == head and trimmed < floor then
  trim(0)   -- all of it, at once
end

local function packed(...)
  return table.concat({...}, ' ')
end

-- The fields of a window in which the digest may stand, a field for each level. Few fields hold many records each: a
-- field of its own for each key would take three times the memory.
local function fields_of(digest)
  local high, low = string.byte(digest, 1, 2)
  local fields = {}
  for level, rule in ipairs(LEVELS) do
    fields[level] = string.char(level) .. struct.pack('>I2', math.floor((high * 256 + low) / 2 ^ (16 - rule[2])))
  end
  return fields
end

local function record_in(value, rest)
  local from = string.find(value, rest, 1, true)
  while from and from % RECORD ~= 1 do
    from = string.find(value, rest, from + 1, true)
  end
  return from and string.sub(value, from, from + RECORD - 1)
end

-- Return the record of the digest; or nil, and the fields of the present window.
local function sent_before(digest, fields)
  local rest, present = string.sub(digest, 2), math.floor(NOW / WINDOW)
  local now
  for window in string.gmatch(windows, '%d+') do
    local values = redis.call('HMGET', SENT .. window, '#', unpack(fields))
    if not values[1] then
      -- Redis has evicted keys that count: whoever repeats a key must know that it may write twice.
      windows = string.gsub(string.gsub(windows, window .. ',?', ''), ',$', '')
      windows = windows == '' and '-' or windows
      rename()
    else
      for level = 1, #LEVELS do
        local record = values[level + 1] and record_in(values[level + 1], rest)
        local time = record and window * WINDOW + struct.unpack('>I4', record, 13)
        if time and (not AGEING or time + KEY_LIFE > NOW) then
          return record
        end
      end
      now = tonumber(window) == present and values or now
    end
  end
  return nil, now or {}
end

local function remember(digest, fields, values)
  local present, count = math.floor(NOW / WINDOW), tonumber(values[1] or 0)
  local level = 1
  while count >= LEVELS[level][1] do
    level = level + 1
  end
  local record = string.sub(digest, 2) .. struct.pack('>I5I4', head + 1, NOW - present * WINDOW) .. ARGV[19]
  local name = SENT .. whole(present)
  redis.call('HSET', name, '#', count + 1, fields[level], (values[level + 1] or '') .. record)
  if count == 0 then
    redis.call('PEXPIRE', name, whole((present + 1) * WINDOW + KEY_LIFE + HOUR - NOW))
    drop_windows()
    windows = windows == '-' and whole(present) or windows .. ',' .. whole(present)
  end
end

local function id_text(bytes)
  local hex = string.gsub(bytes, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  return string.gsub(hex, '^(........)(....)(....)(....)', '%1-%2-%3-%4-')
end

-- Return the next state of a message: the parts that never change, the new text, the new data or the old. `before` is
-- the offset of the edit before, or of this one where the state is kept.
local function revised(present, before)
  local created_offset, created_at, version, head_size, data_size, by_size, from =
    string.match(present, '^[ce] %d+ %d+ (%d+) (%d+) (%d+) %d+ (%d+) (%d+) (%d+) ()')
  local text, data, by = ARGV[17], ARGV[18], ARGV[20]
  local data_from = from + head_size
  if ARGV[19] == '1' then
    data = string.sub(present, data_from, data_from + data_size - 1)
  end
  return packed('e', at, whole(written), created_offset, created_at, whole(version + 1), before, head_size, #data, #by,
    string.sub(present, from, data_from - 1) .. data .. by .. text)
end

if kind == 'creation' then
  local digest = ARGV[18]
  local fields = digest ~= '' and fields_of(digest)
  local values
  if fields then
    local record, present = sent_before(digest, fields)
    if record then
      local was, was_id = struct.unpack('>I5', record, 8), id_text(string.sub(record, 17))
      -- A message that the log does not know has been lost with an earlier log, and is written again.
      if was <= floor or tonumber(redis.call('ZSCORE', ORDER, was_id)) == was then
        return {'duplicate', epoch, whole(was), '', was_id, was > floor and entry_at(was)}
      end
      present = redis.call('HMGET', SENT .. whole(math.floor(NOW / WINDOW)), '#', unpack(fields))
    end
    values = present
  end
  if redis.call('ZADD', ORDER, 'NX', offset, id) == 0 then
    if tonumber(redis.call('ZSCORE', ORDER, id)) > floor then
      return {'conflict', epoch}
    end
    redis.call('ZADD', ORDER, offset, id)   -- that message was dropped, and is not removed yet
    states = states > 0 and states - redis.call('HDEL', STATE, id) or 0
  else
    messages = messages + 1
  end
  if fields then
    remember(digest, fields, values)
  end
  redis.call('ZADD', KEYS[8], 'NX', 0, ARGV[20] .. CHANNEL)
  entry = packed('c', at, whole(written), offset, at, '1', '0', ARGV[17])
else
  local created_offset = tonumber(redis.call('ZSCORE', ORDER, id) or 0)
  local present = created_offset > floor and (redis.call('HGET', STATE, id) or entry_at(created_offset))
  if not present then
    return {'not_found', epoch}
  end
  local deleted, deleted_at, deleted_by = string.match(present, '^d (%d+) (%d+) ?(.*)$')
  local last_edit = string.match(present, '^e %d+ %d+ %d+ %d+ %d+ (%d+) ') or '0'
  if kind == 'revision' then
    if deleted then
      return {'conflict', epoch}
    end
    entry = revised(present, last_edit)
    states = states + redis.call('HSET', STATE, id, revised(present, offset))
  else
    local by = ARGV[17]
    if deleted then
      return {'duplicate', epoch, deleted, deleted_at, id, packed('d', deleted_at, '0', id, deleted_by)}
    end
    entry = packed('d', at, whole(written), id, by)
    erase(created_offset, id)   -- first, since a full Redis refuses nothing after it
    states = states + redis.call('HSET', STATE, id, packed('d', offset, at, by))
    if tonumber(last_edit) > floor then
      erasing = (erasing == '-' and '' or erasing .. ',') .. last_edit .. ':' .. id
    end
  end
end

redis.call('XADD', LOG, offset .. '-0', 'e', entry)
if head == floor then
  first = written
end
head, at_head = head + 1, at
floor = math.max(floor, head - tonumber(ARGV[15]))
erase_edits(ERASE_LIMIT)
if math.floor(trimmed / TRIM_EVERY) < math.floor(floor / TRIM_EVERY) then
  trim(TRIM_LIMIT)
end
if math.abs(NOW - told) >= IDLE_STEP then
  told = NOW
  redis.call('ZADD', IDLE, whole(NOW), CHANNEL)
end
save()
return {'ok', epoch, offset, at, id, kind ~= 'creation' and entry}
