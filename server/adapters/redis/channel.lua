-- The beginning of every script: read the channel's state, and how to change it. losses.lua follows.
--
-- KEYS  1 meta  2 log  3 order  4 state  5 gone  6 store  7 idle  (keys.py says what they hold)
-- ARGV  1 a new epoch, never given before, in case one is needed
--       2 epoch, 3 offset, 4 at of the last event that the caller has seen, or ''
--       5 id of this run of Redis  6 '' for Redis' time, or the time  7 the caller's time, or '' if it may be wrong
--       8 age over which events are too old  9 the channel  10 its bucket
--       11 how the names of the keys for idempotency keys begin  12 '1' if the caller hosts the channel.
--       Times are in ms.
--
-- The floor is exact: events up to it are not kept. Their entries are removed some time later, in steps. A channel
-- without events has no key.

local META, LOG, ORDER, STATE, GONE, STORE, IDLE = unpack(KEYS)
local BASE = string.sub(META, 1, -5)   -- of the names of the channel's keys that no other word of KEYS names
local SEEN_EPOCH, SEEN_OFFSET, SEEN_AT, RUN = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local CHANNEL, BUCKET, SENT, HOSTS = ARGV[9], ARGV[10], ARGV[11], ARGV[12] == '1'
local HOUR = 3600 * 1000
local WINDOW, WINDOWS, KEY_LIFE = 8 * HOUR, 4, 24 * HOUR   -- keys of so many windows may count
local UNKNOWN_RUN = '0000000000'   -- Redis does not say which run it is, or no proof is asked for
local CLOCKS_APART = 300 * 1000   -- more is a wrong clock: nothing ages then
local IDLE_STEP = 1000   -- the index of writes is at most this late
local TRIM_EVERY = 64
local TRIM_LIMIT = 128   -- more than TRIM_EVERY, so that a backlog shrinks
local ERASE_LIMIT = 100
local REACTED_LIMIT = 128   -- messages of a forgotten page whose reactions go in a step

local function whole(number)
  return string.format('%.0f', number)
end

local NOW = tonumber(ARGV[6])
if not NOW then
  local time = redis.call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end
local AGEING = ARGV[7] ~= '' and math.abs(NOW - ARGV[7]) < CLOCKS_APART
local OLDEST = AGEING and NOW - ARGV[8] or -1

local function entries(first, last, count)
  return redis.call('XRANGE', LOG, whole(first) .. '-0', last, 'COUNT', count)
end

-- `at_head` is the `at` of the head. Entries up to `trimmed` are removed. The first kept entry was written at `first`
-- or later, the last at `written`. The log was last proven in `run`. The index of writes was last told at `told`.
-- `messages`, `states` and `holes` count order, state and gone. `erasing` are edits of deleted messages that are still
-- to be removed, `OFFSET:ID,...`; `windows` are the windows that have keys.
local epoch, head, at_head, floor, trimmed, first, written, run, told, messages, states, holes, erasing, windows =
  string.match(redis.call('GET', META) or '',
    '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
head, floor, trimmed, first = tonumber(head), tonumber(floor), tonumber(trimmed), tonumber(first)
written, told, messages, states = tonumber(written), tonumber(told), tonumber(messages), tonumber(states)
holes = tonumber(holes)

local function packed_state()
  return string.format('%s %.0f %s %.0f %.0f %.0f %.0f %s %.0f %d %d %d %s %s', epoch, head, at_head, floor, trimmed,
    first, written, run, told, messages, states, holes, erasing, windows)
end

local function save()
  redis.call('SET', META, packed_state())
end

-- Return what is to be written so that the channel owes the events behind an offset of an epoch to the endpoints of
-- webhooks that are open (endpoints.py): {key, debt, key, debt ...}, or nothing. A debt is EPOCH OFFSET, of the place up
-- to which the endpoint has events; and behind it, if the epoch is over, the place in the next where it goes on.
local function owing(epoch, offset)
  local open = redis.call('HGET', STORE, 'hooks')
  if not open then
    return
  end
  local here, prefix, owed, covered = epoch .. ' ', string.sub(STORE, 1, -6) .. 'debts:'
  for name, phase, patterns in string.gmatch(open, '(%S+) %d+ (%l) (%S+)') do
    if patterns ~= '*' and not covered then
      function covered(patterns)
        for pattern in string.gmatch(patterns, '[^,]+') do
          if pattern == CHANNEL or string.byte(pattern, -1) == 42   -- an asterisk
            and string.sub(pattern, 1, -2) == string.sub(CHANNEL, 1, #pattern - 1) then
            return true
          end
        end
      end
    end
    if patterns == '*' or covered(patterns) then
      local debt = redis.call('HGET', prefix .. name, CHANNEL)
      if not debt or string.sub(debt, 1, #here) ~= here then
        local was, place, after, begins = string.match(debt or '', '^(%S+) (%d+) ?(%S*) ?(%d*)$')
        if not was then
          -- An endpoint that is being opened from the start gets all that is kept.
          debt = here .. whole(phase == 's' and floor or offset)
        else
          local last = after == epoch and begins or math.min(tonumber(begins) or tonumber(place), offset)
          debt = table.concat({was, place, epoch, whole(tonumber(last))}, ' ')
        end
        owed = owed or {}
        owed[#owed + 1], owed[#owed + 2] = prefix .. name, debt
      end
    end
  end
  return owed
end

-- The entry, and all fields that stand there; or, of an erased event, what stands in its place.
local function entry_at(offset)
  local erased = holes > 0 and redis.call('HGET', GONE, whole(offset))
  if erased then
    return erased
  end
  local found = entries(offset, whole(offset) .. '-0', 1)[1]
  if found then
    return found[2][2], found[2]
  end
  return false
end

-- Make the functions that most calls do not need: to make a function costs nearly as much as to ask Redis.
local made
local function seldom()
  if made then
    return made
  end

  -- The epoch of a channel without events. The id and the generations are one key, so that none is lost alone.
  local function derived()
    local store, generation = unpack(redis.call('HMGET', STORE, 'id', BUCKET))
    if not store then
      store = ARGV[1]
      redis.call('HSET', STORE, 'id', store)
    end
    return string.sub(redis.sha1hex(store .. ' ' .. (generation or '0') .. ' ' .. CHANNEL), 1, 16)
  end

  local function begin()
    epoch, head, at_head, floor, trimmed, first, written, run = derived(), 0, '0', 0, 0, 0, 0, RUN
    told, messages, states, holes, erasing, windows = 0, 0, 0, 0, '-', '-'
  end

  -- Remove the reactions to at most `limit` messages, whichever they are. Returns whether there are more.
  local function drop_reactions(limit)
    local ids = redis.pcall('HRANDFIELD', BASE .. 'reacted', limit)
    local names = {}
    for index, id in ipairs(ids) do   -- none, if the key is no hash
      names[index] = BASE .. 'reacted:' .. id
    end
    if #ids < limit then
      names[#names + 1] = BASE .. 'reacted'
    else
      redis.call('HDEL', BASE .. 'reacted', unpack(ids))
    end
    redis.call('UNLINK', unpack(names))
    return #ids == limit
  end

  -- Remove all that is kept beside the log of messages that are not kept. Marks stay. The reactions go in steps.
  local function drop_beside()
    redis.call('UNLINK', BASE .. 'mentions', BASE .. 'erased', BASE .. 'records')
    return drop_reactions(REACTED_LIMIT)
  end

  -- Remove what another log of the channel has left. A former version forgets a log, and leaves this.
  local function drop_remains()
    redis.call('UNLINK', BASE .. 'reads')
    while drop_beside() do
    end
  end

  -- Remove the channel. It gets another epoch, and so do the channels without events in its bucket.
  local function forget()
    local names, window = {META, LOG, ORDER, STATE, GONE}, math.floor(NOW / WINDOW)
    for back = 0, WINDOWS do
      names[#names + 1] = SENT .. whole(window - back)
    end
    redis.call('UNLINK', unpack(names))
    drop_remains()
    redis.call('ZREM', IDLE, CHANNEL)
    redis.call('HINCRBY', STORE, BUCKET, 1)
    begin()
  end

  -- When the first event at the offset or above it was written, and its offset.
  local function written_from(offset)
    local erased = holes > 0 and redis.call('HGET', GONE, whole(offset))
    if erased then
      return tonumber(string.match(erased, '^%l+ %d+ (%d+)')), offset
    end
    local found = entries(offset, '+', 1)[1]
    if found then
      return tonumber(string.match(found[2][2], '^%l+ %d+ (%d+)')), tonumber(string.match(found[1], '^%d+'))
    end
  end

  -- Raise the floor to the last event that is too old: events stand in the order of writing. Usually that is the next.
  local function age()
    local above, step = head + 1, 1
    while floor + 1 < above do
      local probe = math.min(floor + step, above - 1)
      local time, offset = written_from(probe)
      if time and time < OLDEST then
        floor, step = offset, step * 2
      else
        above, first, step = probe, time or first, math.max(1, math.floor((probe - floor) / 2))
      end
    end
  end

  -- Forget the windows whose keys have all expired. If a clock may be wrong, none has.
  local function drop_windows()
    local left = {}
    for window in string.gmatch(windows, '%d+') do
      if not AGEING or (window + 1) * WINDOW + KEY_LIFE > NOW then
        left[#left + 1] = window
      else
        redis.call('UNLINK', SENT .. window)
      end
    end
    windows = #left > 0 and table.concat(left, ',') or '-'
  end

  -- Remove the events of applications up to an offset from their index: each stands there by offset, and by name.
  local function trim_records(upto)
    repeat
      local found = redis.pcall('ZRANGEBYLEX', BASE .. 'records', '-', string.format('( %016.0f', upto + 1), 'LIMIT', 0, 500)
      local members = {}
      for _, member in ipairs(found) do   -- none, if the key is no sorted set
        local place, name = string.match(member, '^ (%d+) (.*)$')
        members[#members + 1], members[#members + 2] = member, name and name .. ' ' .. place
      end
      if #members > 0 then
        redis.call('ZREM', BASE .. 'records', unpack(members))
      end
    until #found < 500
  end

  -- Remove at most `limit` of the events that are not kept. Nothing here needs memory. Returns whether there is more
  -- to remove of a log that keeps nothing.
  local function trim(limit)
    local from = trimmed
    if floor == head then
      redis.call('UNLINK', LOG, ORDER, STATE, GONE)
      trimmed, messages, states, holes, erasing = head, 0, 0, 0, '-'
      return drop_beside()
    end
    trimmed = math.min(floor, trimmed + limit)
    if trimmed == from then
      return
    end
    redis.call('XTRIM', LOG, 'MINID', whole(trimmed + 1) .. '-0')
    local ids = redis.call('ZRANGEBYSCORE', ORDER, '-inf', whole(trimmed))
    if #ids > 0 then
      messages = messages - redis.call('ZREM', ORDER, unpack(ids))
      states = states > 0 and states - redis.call('HDEL', STATE, unpack(ids)) or 0
      local dropped = redis.pcall('HDEL', BASE .. 'reacted', unpack(ids))
      if type(dropped) == 'number' and dropped > 0 then
        for index, id in ipairs(ids) do
          ids[index] = BASE .. 'reacted:' .. id
        end
        redis.call('UNLINK', unpack(ids))
      end
    end
    trim_records(trimmed)
    if holes > 0 then
      redis.pcall('ZREMRANGEBYSCORE', BASE .. 'erased', whole(-trimmed), whole(trimmed))
      local offsets = {}
      for offset = from + 1, trimmed do
        offsets[#offsets + 1] = whole(offset)
      end
      holes = holes - redis.call('HDEL', GONE, unpack(offsets))
    end
  end

  -- Remove an event of a deleted message, and keep what stood there. Returns the offset of the edit before it.
  local function erase(offset, id)
    local found = entries(offset, whole(offset) .. '-0', 1)[1]
    if not found then
      return 0
    end
    local kind, at, time, created, before, size, from =
      string.match(found[2][2], '^(%l+) (%d+) (%d+) (%d+) %d+ %d+ (%d+) (%d+) %d+ %d+ ()')
    -- Fails if the event is damaged, before anything is removed.
    local was = '1'
    if kind ~= 'e' then
      local author = cjson.decode(string.sub(found[2][2], from, from + size - 1))[2]
      was = string.sub(redis.sha1hex(id .. ' ' .. author), 1, 16)   -- author_digest of messages.py
    end
    local place = table.concat({'x', at, time, created, was, id}, ' ')
    redis.call('XDEL', LOG, found[1])
    redis.call('HSET', GONE, whole(offset), place)
    -- The index of erased events (unread.lua), which is made anew if it is not whole.
    redis.pcall('ZADD', BASE .. 'erased', (kind == 'e' and '-' or '') .. whole(offset), whole(offset))
    holes = holes + 1
    return tonumber(before)
  end

  -- Remove at most `limit` edits of deleted messages.
  local function erase_edits(limit)
    if erasing == '-' then
      return
    end
    local left = {}
    for offset, id in string.gmatch(erasing, '(%d+):([^,]+)') do
      offset = tonumber(offset)
      while offset > floor and limit > 0 do
        offset, limit = erase(offset, id), limit - 1
      end
      if offset > floor then
        left[#left + 1] = whole(offset) .. ':' .. id
      end
    end
    erasing = #left > 0 and table.concat(left, ',') or '-'
  end

  made = {begin = begin, forget = forget, age = age, drop_windows = drop_windows, trim = trim, erase = erase,
    erase_edits = erase_edits, drop_remains = drop_remains, drop_beside = drop_beside}
  return made
end
