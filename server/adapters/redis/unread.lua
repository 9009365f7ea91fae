-- Behind parts.lua: what a user has read, and what not. No counter is kept: `reads` has the offsets up to which users
-- have read, and all else is counted from indexes.
--
-- `mentions` has by user (`*`: everybody) the offsets of the messages that name them, packed and ascending, the last
-- MENTIONS_KEPT of them. `erased` is an index of the places of erased events: by their offsets those of creations, by
-- their negated offsets those of edits. A former version adds nothing to it: then it is made anew from `gone`.

local READS, MENTIONS, ERASED = BASE .. 'reads', BASE .. 'mentions', BASE .. 'erased'
local PLACE = 5   -- bytes of an offset in `mentions`

local function index_is_whole()
  local creations = redis.pcall('ZCOUNT', ERASED, whole(trimmed + 1), '+inf')
  local edits = redis.pcall('ZCOUNT', ERASED, '-inf', whole(-trimmed - 1))
  return type(creations) == 'number' and creations + edits == holes
end

-- `UNLINK` is allowed on a full Redis, and so is what follows.
local function index_erased()
  local places, members = redis.call('HGETALL', GONE), {}
  redis.call('UNLINK', ERASED)
  for index = 1, #places, 2 do
    local edit = string.find(places[index + 1], '^x %d+ %d+ %d+ 1 ')
    members[#members + 1], members[#members + 2] = (edit and '-' or '') .. places[index], places[index]
    if #members == 1000 or index + 2 > #places then
      redis.call('ZADD', ERASED, unpack(members))
      members = {}
    end
  end
end

-- How many messages that were created behind an offset are deleted.
local looked
local function erased_behind(offset)
  if holes == 0 then
    return 0
  end
  if not looked and not index_is_whole() then
    index_erased()
  end
  looked = true
  return redis.call('ZCOUNT', ERASED, '(' .. whole(offset), '+inf')
end

local function place(list, number)
  return (struct.unpack('>I5', list, (number - 1) * PLACE + 1))
end

-- How many places of a list are not behind an offset.
local function places_upto(list, offset)
  local low, high = 0, math.floor(#list / PLACE)
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if place(list, middle) <= offset then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- How many places of a list, from a number on, are those of deleted messages. Looks up whichever are fewer.
local function erased_in(list, from, behind, erased)
  local last, found = math.floor(#list / PLACE), 0
  if last - from < erased then
    local names = {}
    for number = from, last do
      names[#names + 1] = whole(place(list, number))
    end
    for _, score in ipairs(redis.call('ZMSCORE', ERASED, unpack(names))) do
      found = found + (score and tonumber(score) > 0 and 1 or 0)
    end
    return found
  end
  for _, offset in ipairs(redis.call('ZRANGEBYSCORE', ERASED, '(' .. whole(behind), '+inf')) do
    local number = places_upto(list, tonumber(offset))
    found = found + (number >= from and place(list, number) == tonumber(offset) and 1 or 0)
  end
  return found
end

-- The messages behind a mark that are not read, and those of them that name the user or everybody.
local function unread(user, mark)
  local behind = math.max(mark, floor)
  local erased, named = erased_behind(behind), 0
  local count = redis.call('ZCOUNT', ORDER, '(' .. whole(behind), '+inf') - erased
  for _, list in ipairs(redis.call('HMGET', MENTIONS, '*', user ~= '*' and user or '')) do
    if list then
      local from, last = places_upto(list, behind) + 1, places_upto(list, head)
      if from <= last then
        named = named + last - from + 1 - (erased > 0 and erased_in(list, from, behind, erased) or 0)
      end
    end
  end
  return whole(count), whole(named)
end

-- A user's mark; 0 if there is none. It is at most at the head, and a mark that is further, since Redis has lost the
-- end of the log alone, is moved back: what comes next is unread.
local function mark_of(user)
  local mark = tonumber(redis.call('ZSCORE', READS, user) or 0)
  if mark > head then
    redis.pcall('ZADD', READS, whole(head), user)
  end
  return math.min(mark, head)
end
