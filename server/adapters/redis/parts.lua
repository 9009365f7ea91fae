-- Behind losses.lua: the parts of a message that stand beside its entry. A former version knows neither part, and reads
-- the entry alone. A field `m` of the stream's entry holds the mentions of a creation or an edit, a field `r` the
-- reactions at the moment of an edit, both as JSON; `reacted` holds what is known of a message's reactions (react.lua).

-- Make the functions; most sends need none.
local parts_made
local function parts()
  if parts_made then
    return parts_made
  end

  local function field_of(fields, name)
    for index = 3, fields and #fields or 0, 2 do
      if fields[index] == name then
        return fields[index + 1]
      end
    end
  end

  -- The entry or the state of a message with further parts, as entries.py reads it: behind the others in its HEAD.
  local function composed(packed, mentions, reactions)
    if not mentions and not reactions then
      return packed
    end
    local words, head_size, sizes, from =
      string.match(packed, '^([ce] %d+ %d+ %d+ %d+ %d+ %d+) (%d+) (%d+ %d+) ()')
    local last = from + head_size - 1   -- a bracket
    local further = ',' .. (mentions or '[]') .. ',' .. (reactions or '[]')
    return table.concat({words, whole(head_size + #further), sizes,
      string.sub(packed, from, last - 1) .. further .. string.sub(packed, last)}, ' ')
  end

  -- What stands in a place of the log, with all parts.
  local function whole_entry(fields)
    return fields[3] and composed(fields[2], field_of(fields, 'm'), field_of(fields, 'r')) or fields[2]
  end

  local function whole_entry_at(offset)
    local packed, fields = entry_at(offset)
    return fields and whole_entry(fields) or packed
  end

  -- The reactions that a summary (react.lua) tells of, as JSON; nil if there are none.
  local function shown(summary)
    local emojis = {}
    for count, emoji, users in string.gmatch(summary or '', '\n%d+\t%d+\t(%d+)\t([^\t]+)\t([^\n]+)') do
      emojis[#emojis + 1] = '[' .. emoji .. ',' .. count .. ',[' .. users .. ']]'
    end
    return #emojis > 0 and '[' .. table.concat(emojis, ',') .. ']' or nil
  end

  -- Return the function that reads the present state of a message that was created at an offset, with all parts: false
  -- if somebody has cut the creation out of the stream.
  local function state_reader()
    local reacts = redis.call('TYPE', BASE .. 'reacted').ok == 'hash'
    return function(id, offset)
      local state = states > 0 and redis.call('HGET', STATE, id)
      if state and string.byte(state) == 100 then   -- d
        return state
      end
      local creation, fields = entry_at(offset)
      state = state or creation
      if not state or string.byte(state) == 120 then   -- x: an index is damaged, and Python says so
        return state
      end
      return composed(state, field_of(fields, 'm'), reacts and shown(redis.call('HGET', BASE .. 'reacted', id)))
    end
  end

  parts_made = {field_of = field_of, composed = composed, whole_entry = whole_entry, whole_entry_at = whole_entry_at,
    shown = shown, state_reader = state_reader}
  return parts_made
end
