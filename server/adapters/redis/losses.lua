-- Behind channel.lua in every script: find out if Redis has lost a part of the channel, mend what can be mended, and
-- work out which events are too old.

local MEND_LIMIT = 200000   -- events of a channel whose lost indexes are made anew: half a second of Redis at most

local function seen_is_here()
  if SEEN_OFFSET <= floor then
    return true
  elseif SEEN_OFFSET == head then
    return SEEN_AT == at_head
  end
  local entry = SEEN_OFFSET < head and entry_at(SEEN_OFFSET)
  return entry and string.match(entry, '^%l+ (%d+)') == SEEN_AT
end

-- Owe the end of an epoch in which events may have been lost. A full Redis may refuse it: the channel must go on.
local function owe_loss(lost_epoch, last)
  local done, owed = pcall(owing, lost_epoch, last)
  for index = 1, done and owed and #owed or 0, 2 do
    redis.pcall('HSET', owed[index], CHANNEL, owed[index + 1])
  end
end

-- The state is lost: what the caller has seen is all that is known of it.
local function owe_seen()
  if SEEN_OFFSET and SEEN_OFFSET > 0 then
    owe_loss(SEEN_EPOCH, SEEN_OFFSET)
  end
end

-- Something of the channel is lost: offsets and keys of before mean nothing any more. The remaining events stay.
local function rename()
  local before = epoch
  owe_loss(epoch, head)
  epoch = ARGV[1]
  run = RUN == UNKNOWN_RUN and run or RUN
  if redis.pcall('SET', META, packed_state()).err then
    -- Redis is full. All callers that find the same loss are told the same epoch until there is room.
    epoch = string.sub(redis.sha1hex(before .. ' ' .. RUN), 1, 16)
  end
end

local function log_is_whole()
  return redis.call('XLEN', LOG) == head - trimmed - holes and (holes == 0 or redis.call('HLEN', GONE) == holes)
end

local function indexes_are_whole()
  return redis.call('ZCARD', ORDER) == messages and (states == 0 or redis.call('HLEN', STATE) == states)
end

-- Return the function that makes the order and the states anew.
local function mending()
  -- Keep a change of a message that is in the order as its state. `kind` is that of its event, `packed` the event.
  local function keep_state(kind, packed, offset)
    local id, state
    if kind == 'e' then
      id = string.match(packed, '^' .. string.rep('%S+ ', 10) .. '%["([^"]+)"')
      state = string.gsub(packed, '^(e %d+ %d+ %d+ %d+ %d+) %d+', '%1 ' .. offset)
    elseif kind == 'd' then
      local at, by
      at, id, by = string.match(packed, '^d (%d+) %d+ (%S+) ?(.*)$')
      state = table.concat({'d', offset, at, by}, ' ')
    end
    if id and redis.call('ZSCORE', ORDER, id) then
      redis.call('HSET', STATE, id, state)
    end
  end

  -- Make the order and the states anew from the log, which is whole.
  local function mend()
    redis.call('UNLINK', ORDER, STATE)
    local places = holes > 0 and redis.call('HVALS', GONE) or {}
    for _, place in ipairs(places) do
      local created, edited, id = string.match(place, '^x %d+ %d+ (%d+) (%x+) (.+)$')
      if edited ~= '1' then
        redis.call('ZADD', ORDER, created, id)
      end
    end
    local from = trimmed + 1
    while from <= head do
      local found = entries(from, '+', 500)
      if #found == 0 then
        break
      end
      for _, entry in ipairs(found) do
        local offset, kind = string.match(entry[1], '^%d+'), string.sub(entry[2][2], 1, 1)
        if kind == 'c' then
          redis.call('ZADD', ORDER, offset, string.match(entry[2][2], '^' .. string.rep('%S+ ', 10) .. '%["([^"]+)"'))
        else
          keep_state(kind, entry[2][2], offset)
        end
        from = tonumber(offset) + 1
      end
    end
    messages, states = redis.call('ZCARD', ORDER), redis.call('HLEN', STATE)
  end

  return mend
end

if not epoch then
  if redis.call('ZSCORE', IDLE, CHANNEL) or redis.call('EXISTS', LOG, ORDER, STATE, GONE) > 0 then
    owe_seen()
    seldom().forget()
  else
    seldom().begin()
    if SEEN_EPOCH == epoch and SEEN_OFFSET > 0 then
      owe_seen()
      seldom().forget()
    end
  end
elseif not log_is_whole() or not indexes_are_whole() and head - trimmed > MEND_LIMIT then
  owe_loss(epoch, head)
  seldom().forget()
elseif not indexes_are_whole() then
  mending()()
  rename()
elseif SEEN_EPOCH == epoch and not seen_is_here() then
  -- Redis has come back older than it was: events that somebody has seen are gone, and their offsets would be given
  -- again.
  rename()
elseif run ~= RUN and RUN ~= UNKNOWN_RUN then
  if SEEN_EPOCH ~= epoch or (SEEN_OFFSET < head and not HOSTS) then
    -- Redis has restarted, and the caller can't say whether it lost the end of the log: only who hosts the channel, or
    -- has seen its very last event, has seen all that was acked.
    rename()
  else
    run = RUN
    redis.pcall('SET', META, packed_state())   -- a full Redis refuses, and is asked again with the next call
  end
end
if head > floor and first < OLDEST then
  seldom().age()
end
