-- What every script begins with: a channel's state, and whether it is still the log that the caller has seen.
--
-- KEYS  1 meta  2 log  3 order
-- ARGV  1 a new epoch, should one be needed  2 epoch, 3 offset, 4 at of the last event that the caller has seen, '' each

local META, LOG, ORDER = KEYS[1], KEYS[2], KEYS[3]

local function whole(number)
  return string.format('%.0f', number)
end

local function entry_at(offset)
  local found = redis.call('XRANGE', LOG, whole(offset) .. '-0', whole(offset) .. '-0')
  return found[1] and found[1][2] or false
end

local state = redis.call('HMGET', META, 'epoch', 'head', 'floor', 'at')
local epoch, head, floor = state[1], tonumber(state[2] or 0), tonumber(state[3] or 0)

-- The last field of an entry is the event's `at`.
local function seen_is_here(offset, at)
  if offset <= floor then
    return true
  elseif offset == head then
    return at == state[4]
  end
  local entry = offset < head and entry_at(offset)
  return entry and entry[#entry] == at
end

if not epoch or (head > floor and redis.call('EXISTS', LOG) == 0) then
  -- A new channel, or one whose log is lost: another life, in which no old position means anything.
  epoch, head, floor = ARGV[1], 0, 0
  redis.call('UNLINK', LOG, ORDER)
  redis.call('HSET', META, 'epoch', epoch, 'head', 0, 'floor', 0, 'at', '')
elseif ARGV[2] == epoch and not seen_is_here(tonumber(ARGV[3]), ARGV[4]) then
  -- Redis has come back older than it was: events that somebody has seen are gone, and their offsets would be given
  -- again. What is left stays, under a new name.
  epoch = ARGV[1]
  redis.call('HSET', META, 'epoch', epoch)
end
