-- Behind append.lua: reactions. `reacted` has a summary by message id, all parts of one moment:
--
--   NUMBER OFFSET              the number of the next reaction; the offset of the last event that told of reactions
--   SLOT FIRST COUNT EMOJI USERS   for each emoji, by its first reaction that is still there, with tabs between: its
--                              number, how many users, the emoji, the first ten of them, the last two as JSON
--
-- `reacted:ID` is a sorted set of all reactions to a message, SLOT:USER by SLOT * SLOT_SIZE + NUMBER: an emoji has one
-- of 20 slots, and in it the earliest reaction comes first.

local MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS = 20, 5000, 10   -- as in server/domain/reactions.py
local SLOT_SIZE = 2 ^ 40

-- Return the function that lets a user react, or react no longer.
local function reacting()
  -- As in server/domain/reactions.py: the first two digits.
  local function told_as(count)
    local step = 1
    while count / step >= 100 do
      step = step * 10
    end
    return math.floor(count / step) * step
  end

  local function parsed(summary)
    local number, told = string.match(summary or '', '^(%d+) (%d+)')
    local lines = {}
    for slot, first, count, emoji, users in string.gmatch(summary or '', '\n(%d+)\t(%d+)\t(%d+)\t([^\t]+)\t([^\n]+)') do
      lines[#lines + 1] = {slot = tonumber(slot), first = tonumber(first), count = tonumber(count), emoji = emoji,
        users = users}
    end
    return tonumber(number) or 1, tonumber(told) or 0, lines
  end

  local function packed_summary(number, told, lines)
    local words = {whole(number) .. ' ' .. whole(told)}
    for index, line in ipairs(lines) do
      words[index + 1] = table.concat({line.slot, whole(line.first), line.count, line.emoji, line.users}, '\t')
    end
    return table.concat(words, '\n')
  end

  local function free_slot(lines)
    local taken = {}
    for _, line in ipairs(lines) do
      taken[line.slot] = true
    end
    local slot = 0
    while taken[slot] do
      slot = slot + 1
    end
    return slot
  end

  local function add_to(set, lines, line, emoji, user, number)
    if not line then
      line = {slot = free_slot(lines), first = number, count = 0, emoji = emoji, shown = 0}
      lines[#lines + 1] = line
    end
    redis.call('ZADD', set, whole(line.slot * SLOT_SIZE + number), line.slot .. ':' .. user)
    line.count = line.count + 1
    if line.count <= SHOWN_USERS then
      line.users = line.users and line.users .. ',' .. user or user
    end
  end

  local function remove_from(set, lines, line, user)
    redis.call('ZREM', set, line.slot .. ':' .. user)
    line.count = line.count - 1
    local base, users = line.slot * SLOT_SIZE, {}
    local found = redis.call('ZRANGEBYSCORE', set, whole(base), '(' .. whole(base + SLOT_SIZE), 'WITHSCORES', 'LIMIT', 0,
      SHOWN_USERS)
    for index = 1, #found, 2 do
      users[#users + 1] = string.match(found[index], '^%d+:(.*)$')
    end
    line.first, line.users = found[2] and tonumber(found[2]) - base, table.concat(users, ',')
    for index = #lines, 1, -1 do
      if not lines[index].first then
        table.remove(lines, index)
      end
    end
    table.sort(lines, function(one, other) return one.first < other.first end)
  end

  -- Return the reactions to a message: of a message whose set is not whole, which Redis must have dropped, none.
  local function held(id, set)
    local number, told, lines = parsed(redis.call('HGET', BASE .. 'reacted', id))
    local count = 0
    for _, line in ipairs(lines) do
      count = count + line.count
    end
    if redis.call('ZCARD', set) ~= count then
      redis.call('UNLINK', set)
      return number, told, {}, 0
    end
    return number, told, lines, count
  end

  -- Return why a reaction is refused, if it is.
  local function bound(line, lines, count)
    if count >= MAX_REACTORS then
      return 'reactors'
    elseif not line and #lines >= MAX_EMOJIS then
      return 'emojis'
    end
  end

  local function react(draft, id, last)
    local emoji, user, adds = ARGV[draft + 3], ARGV[draft + 4], ARGV[draft + 5] == '1'
    local set = BASE .. 'reacted:' .. id
    local number, told, lines, count = held(id, set)
    local line
    for _, each in ipairs(lines) do
      line = each.emoji == emoji and each or line
    end
    last = math.max(last, told)
    local has = line and redis.call('ZSCORE', set, line.slot .. ':' .. user)
    if adds == (has and true or false) then
      return {'same', whole(last)}
    end
    local refusal = adds and bound(line, lines, count)
    if refusal then
      return {'conflict', refusal}
    end
    local before = line and line.count or 0
    local tells = told_as(before) ~= told_as(before + (adds and 1 or -1))
    if tells then
      if not has_room(draft) then
        return
      end
      plan_debts()
    end
    if adds then
      add_to(set, lines, line, emoji, user, number)
    else
      remove_from(set, lines, line, user)
    end
    local offset = whole(head + 1)
    local summary = packed_summary(number + 1, tells and head + 1 or told, lines)
    redis.call('HSET', BASE .. 'reacted', id, summary)
    if not tells then
      return {'silent', whole(last)}
    end
    wrote = true
    local entry = 'r ' .. ARGV[draft + 1] .. ' ' .. WRITTEN .. ' ["' .. id .. '",' .. (parts().shown(summary) or '[]') .. ']'
    add(offset, entry)
    at_head = ARGV[draft + 1]
    return {'ok', offset, entry}
  end

  return function(drafts)
    local draft = drafts[1]
    local id = ARGV[draft + 2]
    local created_offset = tonumber(redis.call('ZSCORE', ORDER, id) or 0)
    local state = created_offset > floor and states > 0 and redis.call('HGET', STATE, id) or ''
    local answer
    if created_offset <= floor then
      answer = {'not_found'}
    elseif string.byte(state) == 100 then   -- d
      answer = {'conflict', 'deleted'}
    else
      local last_edit = string.match(state, '^e %d+ %d+ %d+ %d+ %d+ (%d+) ')
      answer = react(draft, id, math.max(created_offset, tonumber(last_edit or 0)))
    end
    answers[numbers[draft]] = answer or answers[numbers[draft]]
  end
end
