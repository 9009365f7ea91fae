-- The beginning of every script: read the channel's state, check that the log is still the one that the caller has
-- seen, drop events that are too old.
--
-- KEYS  1 meta  2 log  3 order
-- ARGV  1 a new epoch, in case one is needed  2 epoch, 3 offset, 4 at of the last event that the caller has seen, or ''
--       5 now, ms  6 age over which events are too old, ms  7 prefix of the channel's state keys
--
-- The floor is exact: events up to it are not kept. Their entries are removed some time later, many at once.

local META, LOG, ORDER = KEYS[1], KEYS[2], KEYS[3]
local NOW, MAX_AGE, STATES = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local OLDEST = NOW - MAX_AGE
local DAY = 24 * 3600 * 1000
local MARGIN = DAY   -- Redis drops a log this long after its last event has become too old
local RENEWAL = DAY / 2   -- the expiry is renewed at most this often
local TRIM_EVERY = 64
local TRIM_LIMIT = 256   -- more than TRIM_EVERY, so that a backlog shrinks

local function whole(number)
  return string.format('%.0f', number)
end

local function entries(first, last, count)
  return redis.call('XRANGE', LOG, whole(first) .. '-0', last, 'COUNT', count)
end

-- An entry has one field, which begins with its kind, its `at` and the time of its writing (entries.py).
local function entry_at(offset)
  local found = entries(offset, whole(offset) .. '-0', 1)[1]
  return found and found[2][2] or false
end

-- `at_head` is the `at` of the head. The first kept entry was written at `first` or later. The expiry of the log was
-- last set at `renewed`.
local epoch, head, at_head, floor, first, renewed =
  string.match(redis.call('GET', META) or '', '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
head, floor, first, renewed = tonumber(head), tonumber(floor), tonumber(first), tonumber(renewed)

local function save()
  local packed = table.concat({epoch, whole(head), at_head, whole(floor), whole(first), whole(renewed)}, ' ')
  if head > 0 then
    redis.call('SET', META, packed)
  else
    -- Asking makes a channel, and a million made-up names must not stay: a channel without events expires, unless it is
    -- asked for again.
    redis.call('SET', META, packed, 'PX', DAY)
  end
end

local function seen_is_here(offset, at)
  if offset <= floor then
    return true
  elseif offset == head then
    return at == at_head
  end
  local entry = offset < head and entry_at(offset)
  return entry and string.match(entry, '^%l+ (%d+)') == at
end

local function trim(before)
  if math.floor(before / TRIM_EVERY) == math.floor(floor / TRIM_EVERY) and floor < head then
    return
  end
  redis.call('XTRIM', LOG, 'MINID', whole(floor + 1) .. '-0')
  local gone = redis.call('ZRANGEBYSCORE', ORDER, '-inf', whole(floor), 'LIMIT', 0, TRIM_LIMIT)
  if #gone > 0 then
    redis.call('ZREM', ORDER, unpack(gone))
    for index, id in ipairs(gone) do
      gone[index] = STATES .. id
    end
    redis.call('UNLINK', unpack(gone))
  end
end

local function drop_aged()
  local before = floor
  -- Usually one is dropped as one is added. Further rounds are larger, since no event that is too old may be seen.
  local count = 2
  while floor < head do
    local aged = 0
    for _, entry in ipairs(entries(floor + 1, '+', count)) do
      first = tonumber(string.match(entry[2][2], '^%l+ %d+ (%d+)'))
      if first >= OLDEST then
        break
      end
      aged = aged + 1
    end
    floor = floor + aged
    if aged < count then
      break
    end
    count = 1024
  end
  save()
  trim(before)
end

if not epoch or (head > floor and redis.call('EXISTS', LOG) == 0) then
  if epoch and renewed + RENEWAL < OLDEST then
    -- Redis has dropped the log, because all of it was too old.
    floor, renewed = head, 0
  else
    -- The channel is new, or its log is lost: a new epoch, in which no old position means anything.
    epoch, head, at_head, floor, first, renewed = ARGV[1], 0, '0', 0, 0, 0
    redis.call('UNLINK', LOG, ORDER)
  end
  save()
elseif ARGV[2] == epoch and not seen_is_here(tonumber(ARGV[3]), ARGV[4]) then
  -- Redis has come back older than it was: events that somebody has seen are gone, and their offsets would be given
  -- again. The remaining events stay, in a new epoch.
  epoch = ARGV[1]
  save()
end
if head == 0 then
  redis.call('PEXPIRE', META, DAY)
elseif head > floor and first < OLDEST then
  drop_aged()
end
