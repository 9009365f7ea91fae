-- Behind react.lua: events of applications. `records` is a sorted set whose scores are all 0: each event stands there as
-- ' OFFSET NAME', and as 'NAME OFFSET', the offset with 16 digits. So pages of all events, and of those of a name, are
-- ranges.

-- Return the function that writes an event.
local function recording()
  -- Answer a draft whose key is known. A place that has no event with this key was lost with an earlier log.
  local function is_repeated(draft, record)
    local was, suffix = struct.unpack('>I5', record, 8), ',' .. ARGV[draft + 5] .. ']'
    local entry = was > floor and entry_at(was)
    if was > floor and (not entry or string.byte(entry) ~= RECORD or string.sub(entry, -#suffix) ~= suffix) then
      return false
    end
    if entry then
      hint(whole(was), entry)
    end
    answers[numbers[draft]] = {'duplicate', whole(was), string.sub(record, 17), entry}
    return true
  end

  return function(drafts)
    local draft = drafts[1]
    local at, name, key = ARGV[draft + 1], ARGV[draft + 2], ARGV[draft + 4]
    local record = key ~= '' and known_keys.record_of(string.sub(key, 1, DIGEST))
    if record and is_repeated(draft, record) or not has_room(draft) then
      return
    end
    plan_debts()
    if floor == head and trimmed < floor then
      seldom().trim(0)   -- all of it, at once
      wrote = true
    end
    local offset, place = whole(head + 1), string.format('%016.0f', head + 1)
    local function index()
      redis.call('ZADD', BASE .. 'records', '0', ' ' .. place .. ' ' .. name, '0', name .. ' ' .. place)
    end
    index()
    wrote = true
    if head == 0 then
      seldom().drop_remains()   -- not before, since a full Redis refuses nothing after it
      index()
    end
    if key ~= '' then
      known_keys.remember(drafts)
    end
    local entry = 'p ' .. at .. ' ' .. WRITTEN .. ' ' .. ARGV[draft + 3]
    add(offset, entry)
    at_head, answers[numbers[draft]] = at, {'ok', offset, entry}
  end
end
