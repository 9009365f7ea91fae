-- The beginning of the scripts that change a channel's roster: its state, how it is saved, and how a change is told.
--
-- KEYS  1 the users by time  2 their holders  3 epoch and version  (presence_keys.py, `roster`)
-- ARGV  1 the channel  2 the topic of its changes, or ''  3 an epoch, never given before, in case one is needed
--       4 '' for Redis' time, or the time, ms
--
-- The holders of a user are HOLDER,HOLDER... and a space; behind it, if the user has a name, '=' and the name. In calls
-- a name is given so, too.

local WHO, BY, ROSTER, CHANNEL, TOPIC = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
-- The keys of the seal (seal.py): in the text of the script, which Redis gives to nobody, and in no call of it.
local INNER, OUTER = '@inner@', '@outer@'
local BEHIND = false   -- a head that the roster cannot be behind, or Redis has gone back in time: 'epoch version'
local EMPTY_MS = 3600 * 1000   -- an empty roster keeps its version so long
local TOLD_BYTES = 16000   -- of a message; a longer one tells the head alone

local function whole(number)
  return string.format('%.0f', number)
end

local function store_time()
  if ARGV[4] ~= '' then
    return ARGV[4]
  end
  local time = redis.call('TIME')
  return whole(time[1] * 1000 + math.floor(time[2] / 1000))
end

local function has(entry, holder)
  return string.find(',' .. string.match(entry, '^%S+') .. ',', ',' .. holder .. ',', 1, true)
end

-- Return the entry without a holder; nothing if no holder is left.
local function without(entry, holder)
  local holders, name = string.match(entry, '^(%S+)( .*)$')
  local left = {}
  for each in string.gmatch(holders, '[^,]+') do
    if each ~= holder then
      left[#left + 1] = each
    end
  end
  return #left > 0 and table.concat(left, ',') .. name or nil
end

-- A user as the message has it: user, name, since. `name` is as in a call.
local function present(user, name, since)
  return '[' .. cjson.encode(user) .. ',' .. (name == '' and 'null' or cjson.encode(string.sub(name, 2))) .. ',' .. since .. ']'
end

local function tell(epoch, version, count, left, joined)
  local head = '~{"v":1,"k":"roster","epoch":"' .. epoch .. '","version":' .. version .. ',"count":' .. count
  local told = head .. ',"left":[' .. table.concat(left, ',') .. '],"joined":[' .. table.concat(joined, ',') .. ']}'
  if #told > TOLD_BYTES then
    told = head .. ',"left":[],"joined":[]}'
  end
  local seal = redis.sha1hex(OUTER .. redis.sha1hex(INNER .. TOPIC .. ' ' .. told))
  redis.pcall('PUBLISH', TOPIC, '~' .. seal .. ' ' .. string.sub(told, 2))
end

local function is_behind(epoch, version)
  local seen_epoch, seen_version = string.match(BEHIND, '^(%S+) (%d+)$')
  return epoch == seen_epoch and tonumber(version) < tonumber(seen_version)
end

-- Save and tell the change; return {epoch, version, count, how many users have left or entered}.
local function conclude(left, joined)
  local changes, count = #left + #joined, redis.call('ZCARD', WHO)
  local epoch, version = string.match(redis.call('GET', ROSTER) or '', '^(%S+) (%d+)$')
  local known = epoch ~= nil
  local back = known and BEHIND and is_behind(epoch, version)
  epoch, version = not back and epoch or ARGV[3], (tonumber(version) or 0) + changes
  if count == 0 and changes > 0 then
    redis.call('SET', ROSTER, epoch .. ' ' .. whole(version), 'PX', EMPTY_MS)
  elseif changes > 0 or back or count > 0 and not known then
    redis.call('SET', ROSTER, epoch .. ' ' .. whole(version))
  elseif not known then
    return {'0', '0', '0', '0'}
  end
  if (changes > 0 or back) and TOPIC ~= '' then
    tell(epoch, whole(version), count, left, joined)
  end
  return {epoch, whole(version), whole(count), whole(changes)}
end

-- Take users off the roster that no holder has entered any more. Returns them as the message has them. `entries` are
-- theirs.
local function remove(users, entries)
  if #users == 0 then
    return {}
  end
  local since, gone = redis.call('ZMSCORE', WHO, unpack(users)), {}
  redis.call('HDEL', BY, unpack(users))   -- first, since a full Redis refuses nothing after it
  redis.call('ZREM', WHO, unpack(users))
  for index, user in ipairs(users) do
    gone[index] = present(user, string.match(entries[index], '^%S+ (.*)$'), whole(tonumber(since[index] or 0)))
  end
  return gone
end
