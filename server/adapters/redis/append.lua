-- Append the drafts of a channel, in order: judge each, give it the next offset, write the event and the message's
-- state, publish the hint. New messages that follow each other are a run: what can be written for all of them at once,
-- is. A draft that is refused has written nothing, and the drafts of its sender behind it are refused, too.
--
-- KEYS  1-7 as in channel.lua  8 authors  9 rate
-- ARGV  1-12 as in channel.lua  13 events kept  14 the topic of the hints, or ''  15 the time in which an event is
--       earned, ms, or ''  16 how far ahead the bucket may be, ms, or ''  then for each draft
--       'c' and the sender's number  at, ms  message id  content (entries.py)  digest of author and key, and the
--           message id as bytes; or ''  author  '1' if the author's mark moves, or '0'; and the mentions, JSON, if any
--       'e' and the sender's number  at  message id  text  data  '1' to keep the old data  the moderator, or ''
--       'd' and the sender's number  at  message id  the moderator, or ''
--       'r' and the sender's number  at  message id  emoji, JSON  user, JSON  '1' to add, or ''
--       'p' and the sender's number  at  name  content (entries.py)  as of a message  its key, JSON; or ''
-- Returns {epoch, '1' if all hints are published, an answer to each draft ...}: the offset of a new message, or {'ok',
-- offset, entry}, {'duplicate', offset, id, entry or false}, {'not_found'}, {'conflict'}, {'limited', ms to wait},
-- {'refused', error}. Nothing is sent back that the caller knows already. An error if all drafts are refused.

local KEPT, TOPIC, INTERVAL, ROOM, DRAFTS = tonumber(ARGV[13]), ARGV[14], tonumber(ARGV[15]), tonumber(ARGV[16]), 17
-- The keys of the seal (seal.py): in the text of the script, which Redis gives to nobody, and in no call of it.
local INNER, OUTER = '@inner@', '@outer@'
local CREATION, REVISION, DELETION, REACTION, RECORD = string.byte('cedrp', 1, 5)

local answers, numbers = {}, {}   -- by number of the draft; the number by its first word
local failed, refused, refusal = {}, 0, nil   -- senders; drafts; the first error
local wrote, hinted = false, true
local authors = {}   -- that are in the index
local known_keys   -- functions, if a draft has a key
local debts   -- to write before the first event; false if there are none, or they are written
written = math.max(NOW, written)
local WRITTEN = whole(written)

-- The payload of a hint, for hints.py.
local function hint_of(offset, entry)
  local rest = ' ' .. offset .. ' ' .. entry
  return epoch .. '.' .. redis.sha1hex(OUTER .. redis.sha1hex(INNER .. TOPIC .. ' ' .. epoch .. rest)) .. rest
end

-- Tell the replicas of an event. Also of one that was there before: its first sender may have died before it could.
local function hint(offset, entry)
  if TOPIC ~= '' then
    local told = redis.pcall('PUBLISH', TOPIC, hint_of(offset, entry))
    hinted = hinted and type(told) == 'number'
  end
end

-- Count an event that is to be written; or answer its draft that it has to wait, and return false. (server/domain/gcra.py)
local earned, earned_before
local function has_room(draft)
  if not INTERVAL then
    return true
  end
  if not earned then
    -- A clock that was set back has left a bucket far ahead.
    earned_before = tonumber(redis.call('GET', KEYS[9]) or 0)
    earned = math.min(earned_before, NOW + ROOM)
  end
  local ahead = math.max(earned, NOW) + INTERVAL - NOW
  if ahead > ROOM then
    answers[numbers[draft]] = {'limited', string.format('%.3f', ahead - ROOM)}
    return false
  end
  earned = NOW + ahead
  return true
end

-- Work out what the channel owes the endpoints of webhooks for the events of this call. Called before anything is
-- written, so that a damaged debt refuses the draft.
local function plan_debts()
  if debts == nil then
    debts = owing(epoch, head) or false
  end
end

-- Write an event. `mentions` and `reactions` are further parts of a message (parts.lua), or nothing. Returns the entry
-- with all parts.
local function add(offset, entry, mentions, reactions)
  if debts then
    for index = 1, #debts, 2 do
      redis.call('HSET', debts[index], CHANNEL, debts[index + 1])
    end
    debts = false
  end
  if mentions or reactions then
    local fields = {'e', entry}
    if mentions then
      fields[3], fields[4] = 'm', mentions
    end
    if reactions then
      fields[#fields + 1], fields[#fields + 2] = 'r', reactions
    end
    redis.call('XADD', LOG, offset .. '-0', unpack(fields))
    entry = parts().composed(entry, mentions, reactions)
  else
    redis.call('XADD', LOG, offset .. '-0', 'e', entry)
  end
  if head == floor then
    first = written
  end
  head = head + 1
  hint(offset, entry)
  return entry
end

-- Answer a draft whose key is known. A message that the log does not know has been lost with an earlier log, and is
-- written again.
local function is_duplicate(draft, record)
  local function id_text(bytes)
    local hex = string.gsub(bytes, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
    return string.gsub(hex, '^(........)(....)(....)(....)', '%1-%2-%3-%4-')
  end
  local was, id = struct.unpack('>I5', record, 8), id_text(string.sub(record, 17))
  if was > floor and tonumber(redis.call('ZSCORE', ORDER, id)) ~= was then
    return false
  end
  local entry = was > floor and parts().whole_entry_at(was)
  if entry then
    hint(whole(was), entry)
  end
  answers[numbers[draft]] = {'duplicate', whole(was), id, entry}
  return true
end

local function list_authors(run)
  local members = {}
  for _, draft in ipairs(run) do
    local author = ARGV[draft + 5]
    if not authors[author] then
      authors[author] = true
      members[#members + 1], members[#members + 2] = '0', author .. CHANNEL
    end
  end
  if #members > 0 then
    redis.call('ZADD', KEYS[8], 'NX', unpack(members))
  end
end

-- Give the ids of a run the offsets after the head. Returns how many are new in the order; nothing
-- if one of them is taken.
local function take_ids(run)
  local members, ids = {}, {}
  for index, draft in ipairs(run) do
    ids[index] = ARGV[draft + 2]
    members[2 * index - 1], members[2 * index] = whole(head + index), ids[index]
  end
  local added = redis.call('ZADD', ORDER, 'NX', unpack(members))
  wrote = wrote or added > 0
  if added == #run then
    return added
  elseif #run > 1 then
    for _, id in ipairs(ids) do
      if tonumber(redis.call('ZSCORE', ORDER, id) or 0) > head then
        redis.call('ZREM', ORDER, id)   -- it has just got an offset
      end
    end
  elseif tonumber(redis.call('ZSCORE', ORDER, ids[1])) <= floor then
    redis.call('ZADD', ORDER, members[1], ids[1])   -- that message was dropped, and is not removed yet
    states, wrote = states > 0 and states - redis.call('HDEL', STATE, ids[1]) or 0, true
    return 0
  end
end

-- Return the function that moves the marks of authors, and lists the mentions, of a run whose first message is behind an
-- offset. Redis refuses nothing any more, since events are written. A key of another kind holds nothing that counts.
local function telling()
  local MENTIONS_KEPT, PLACE = 1000, 5   -- of a user; bytes of an offset
  local function list_mentions(names, lists)
    local kept, words = redis.pcall('HMGET', BASE .. 'mentions', unpack(names)), {}
    if kept.err then
      redis.call('UNLINK', BASE .. 'mentions')
    end
    for index, user in ipairs(names) do
      local list, from = kept[index] or '', 1
      while from + PLACE <= #list and struct.unpack('>I5', list, from) <= floor do
        from = from + PLACE
      end
      for number, offset in ipairs(lists[user]) do
        lists[user][number] = struct.pack('>I5', offset)
      end
      list = string.sub(list, from) .. table.concat(lists[user])
      words[#words + 1], words[#words + 2] = user, string.sub(list, -MENTIONS_KEPT * PLACE)
    end
    redis.call('HSET', BASE .. 'mentions', unpack(words))
  end

  return function(run, before)
    local marks, names, lists = {}, {}, {}
    for index, draft in ipairs(run) do
      local flags = ARGV[draft + 6]
      if string.byte(flags) == 49 then   -- 1
        marks[ARGV[draft + 5]] = before + index
      end
      if #flags > 1 then
        for _, user in ipairs(cjson.decode(string.sub(flags, 2))) do
          if not lists[user] then
            names[#names + 1], lists[user] = user, {}
          end
          local list = lists[user]
          if list[#list] ~= before + index then
            list[#list + 1] = before + index
          end
        end
      end
    end
    local words = {}
    for author, offset in pairs(marks) do
      words[#words + 1], words[#words + 2] = whole(offset), string.match(author, '^%d+:(.*):$')
    end
    if #words > 0 and type(redis.pcall('ZADD', BASE .. 'reads', 'GT', unpack(words))) ~= 'number' then
      redis.call('UNLINK', BASE .. 'reads')
      redis.call('ZADD', BASE .. 'reads', unpack(words))
    end
    if #names > 0 then
      list_mentions(names, lists)
    end
  end
end

local function create(run)
  plan_debts()
  if floor == head and trimmed < floor then
    seldom().trim(0)   -- all of it, at once
    wrote = true
  end
  list_authors(run)
  local added = take_ids(run)
  if added then
    if head == 0 then
      seldom().drop_remains()   -- now, since a full Redis refuses nothing after it
    end
    if known_keys then
      known_keys.remember(run)
    end
    local before = head
    for _, draft in ipairs(run) do
      local at, offset, flags = ARGV[draft + 1], whole(head + 1), ARGV[draft + 6]
      add(offset, 'c ' .. at .. ' ' .. WRITTEN .. ' ' .. offset .. ' ' .. at .. ' 1 0 ' .. ARGV[draft + 3],
        #flags > 1 and string.sub(flags, 2))
      at_head, answers[numbers[draft]] = at, head
    end
    if #run > 1 or #ARGV[run[1] + 6] > 1 then
      telling()(run, before)
    elseif ARGV[run[1] + 6] == '1' and type(redis.pcall('ZADD', BASE .. 'reads', 'GT', whole(head),
      string.match(ARGV[run[1] + 5], ':(.*):'))) ~= 'number' then
      telling()(run, before)
    end
    messages = messages + added   -- last: if something failed, the order is found to be damaged, and made anew
  elseif #run == 1 then
    answers[numbers[run[1]]] = {'conflict'}
  else
    for _, draft in ipairs(run) do
      create({draft})
    end
  end
end

-- Return the function that changes a message.
local function changing()
  -- Return the next state of a message: the parts that never change, the new text, the new data or the old. `last_edit`
  -- is the offset of the edit before, or of this one where the state is kept.
  local function revised(draft, present, last_edit)
    local created_offset, created_at, version, head_size, data_size, by_size, from =
      string.match(present, '^[ce] %d+ %d+ (%d+) (%d+) (%d+) %d+ (%d+) (%d+) (%d+) ()')
    local text, data, by = ARGV[draft + 3], ARGV[draft + 4], ARGV[draft + 6]
    local data_from = from + head_size
    if ARGV[draft + 5] == '1' then
      data = string.sub(present, data_from, data_from + data_size - 1)
    end
    return table.concat({'e', ARGV[draft + 1], WRITTEN, created_offset, created_at, whole(version + 1), last_edit,
      head_size, #data, #by, string.sub(present, from, data_from - 1) .. data .. by .. text}, ' ')
  end

  local function revise(draft, id, present, last_edit, created_offset)
    local offset = whole(head + 1)
    local entry, state = revised(draft, present, last_edit), revised(draft, present, offset)
    local _, creation = entry_at(created_offset)
    local reactions = parts().shown(redis.call('HGET', BASE .. 'reacted', id))
    states, wrote = states + redis.call('HSET', STATE, id, state), true
    return {'ok', offset, add(offset, entry, parts().field_of(creation, 'm'), reactions)}
  end

  local function delete(draft, id, created_offset, last_edit)
    local offset, at, by = whole(head + 1), ARGV[draft + 1], ARGV[draft + 3]
    local entry = 'd ' .. at .. ' ' .. WRITTEN .. ' ' .. id .. ' ' .. by
    seldom().erase(created_offset, id)   -- first, since a full Redis refuses nothing after it
    wrote = true
    redis.call('UNLINK', BASE .. 'reacted:' .. id)
    redis.pcall('HDEL', BASE .. 'reacted', id)
    states = states + redis.call('HSET', STATE, id, 'd ' .. offset .. ' ' .. at .. ' ' .. by)
    if tonumber(last_edit) > floor then
      erasing = (erasing == '-' and '' or erasing .. ',') .. last_edit .. ':' .. id
    end
    add(offset, entry)
    return {'ok', offset, entry}
  end

  local function change(drafts)
    plan_debts()
    local draft = drafts[1]
    local id, revises = ARGV[draft + 2], string.byte(ARGV[draft]) == REVISION
    local created_offset = tonumber(redis.call('ZSCORE', ORDER, id) or 0)
    local present = created_offset > floor and (redis.call('HGET', STATE, id) or entry_at(created_offset))
    local answer
    if not present then
      answer = {'not_found'}
    else
      local deleted, deleted_at, deleted_by = string.match(present, '^d (%d+) (%d+) ?(.*)$')
      local last_edit = string.match(present, '^e %d+ %d+ %d+ %d+ %d+ (%d+) ') or '0'
      if deleted and revises then
        answer = {'conflict'}
      elseif deleted then
        local entry = 'd ' .. deleted_at .. ' 0 ' .. id .. ' ' .. deleted_by
        hint(deleted, entry)
        answer = {'duplicate', deleted, id, entry}
      elseif not has_room(draft) then
        return
      else
        answer = revises and revise(draft, id, present, last_edit, created_offset)
          or delete(draft, id, created_offset, last_edit)
        at_head = ARGV[draft + 1]
      end
    end
    answers[numbers[draft]] = answer
  end

  return change
end
