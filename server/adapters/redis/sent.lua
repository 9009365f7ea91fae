-- Behind losses.lua in the script that appends: the idempotency keys that are known. A key is its digest and the
-- message's id, as bytes.

local DIGEST = 8   -- bytes
local RECORD = 32   -- bytes: 7 of the digest, 5 of the offset, 4 of the time in the window, 16 of the message id
-- Keys of a window up to which a level is used, and the bits of the digest in its fields. Few fields hold many records
-- each: a field of its own for each key would take three times the memory.
local LEVELS = {{128, 4}, {2048, 7}, {16384, 10}, {math.huge, 14}}
local PRESENT = math.floor(NOW / WINDOW)

local sent = {}   -- windows, oldest first; by window: the number of its keys as '#', and the values of fields

-- Make the functions for drafts with keys.
local function key_functions()
  local function field(level, digest)
    local high, low = string.byte(digest, 1, 2)
    return struct.pack('>BI2', level, bit.rshift(high * 256 + low, 16 - LEVELS[level][2]))
  end

  -- Ask a window for the fields of two levels in which the digests may stand.
  local function ask(held, window, digests, level)
    local fields, asked = {'#'}, {}
    for _, digest in ipairs(digests) do
      for each = level, level + 1 do
        local name = field(each, digest)
        if not asked[name] then
          asked[name], fields[#fields + 1] = true, name
        end
      end
    end
    local values = redis.call('HMGET', SENT .. window, unpack(fields))
    for index, name in ipairs(fields) do
      held[name] = values[index] or nil
    end
  end

  -- Read what is known of the drafts' keys, before anything is written.
  local function look_up(digests)
    for window in string.gmatch(windows, '%d+') do
      local held = {}
      ask(held, window, digests, 1)
      if not held['#'] then
        -- Redis has evicted keys that count: whoever repeats a key must know that it may write twice.
        windows = string.gsub(string.gsub(windows, window .. ',?', ''), ',$', '')
        windows = windows == '' and '-' or windows
        rename()
      else
        if tonumber(held['#']) >= LEVELS[2][1] then
          ask(held, window, digests, 3)
        end
        sent[#sent + 1], sent[window] = window, held
      end
    end
  end

  local function record_in(value, rest)
    local from = string.find(value, rest, 1, true)
    while from and from % RECORD ~= 1 do
      from = string.find(value, rest, from + 1, true)
    end
    return from and string.sub(value, from, from + RECORD - 1)
  end

  -- Return the record of a digest. If the clocks disagree, none is too old.
  local function record_of(digest)
    local rest = string.sub(digest, 2)
    for _, window in ipairs(sent) do
      local held, level = sent[window], 1
      while level <= #LEVELS and (level == 1 or tonumber(held['#']) > LEVELS[level - 1][1]) do
        local value = held[field(level, digest)]
        local record = value and record_in(value, rest)
        if record and (not AGEING or window * WINDOW + struct.unpack('>I4', record, 13) + KEY_LIFE > NOW) then
          return record
        end
        level = level + 1
      end
    end
  end

  -- Remember the keys of a run, whose messages get the offsets after the head.
  local function remember(run)
    local window, changed, fields = whole(PRESENT), {}, {}
    local held = sent[window] or {['#'] = 0}
    local fresh, count = not sent[window], tonumber(held['#'])
    for index, draft in ipairs(run) do
      local key = ARGV[draft + 4]
      if key ~= '' then
        local level = 1
        while count >= LEVELS[level][1] do
          level = level + 1
        end
        local name = field(level, key)
        held[name] = (held[name] or '') .. string.sub(key, 2, DIGEST)
          .. struct.pack('>I5I4', head + index, NOW - PRESENT * WINDOW) .. string.sub(key, DIGEST + 1)
        count, changed[name] = count + 1, true
      end
    end
    if count == tonumber(held['#']) then
      return
    end
    held['#'], changed['#'] = whole(count), true
    for name in pairs(changed) do
      fields[#fields + 1], fields[#fields + 2] = name, held[name]
    end
    redis.call('HSET', SENT .. window, unpack(fields))
    if fresh then
      redis.call('PEXPIRE', SENT .. window, whole((PRESENT + 1) * WINDOW + KEY_LIFE + HOUR - NOW))
      seldom().drop_windows()
      windows = windows == '-' and window or windows .. ',' .. window
      sent[#sent + 1], sent[window] = window, held
    end
  end

  return {look_up = look_up, record_of = record_of, remember = remember}
end
