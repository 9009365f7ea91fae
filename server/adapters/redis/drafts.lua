-- Behind record.lua in the script that appends: take the drafts up, in order (append.lua).

local function refuse(draft, problem)
  if not answers[numbers[draft]] then
    answers[numbers[draft]] = {'refused', problem}
    failed[string.sub(ARGV[draft], 2)], refused = true, refused + 1
  end
end

-- Write drafts. What fails, because Redis is full or the channel is damaged, has not been written.
local function attempt(write, drafts)
  local done, problem = pcall(write, drafts)
  if not done then
    refusal = refusal or (type(problem) == 'table' and problem.err or tostring(problem))
    for _, draft in ipairs(drafts) do
      refuse(draft, refusal)
    end
  end
end

local run, keys_of_run = {}, {}   -- new messages, none of which repeats the key of another

local function end_run()
  if #run > 0 then
    local drafts = run
    run, keys_of_run = {}, {}
    attempt(create, drafts)
  end
end

-- Take a draft up. `digest` is that of a new message's key.
local function take(draft, digest)
  if not digest then
    local kind = string.byte(ARGV[draft])
    attempt(kind == REACTION and reacting() or kind == RECORD and recording() or changing(), {draft})
    return
  elseif digest ~= '' then
    local record = known_keys.record_of(digest)
    if record and is_duplicate(draft, record) then
      return
    end
    if not has_room(draft) then
      return
    end
    keys_of_run[digest] = true
  elseif not has_room(draft) then
    return
  end
  run[#run + 1] = draft
end

local drafts, digests, word = {}, {}, DRAFTS
while ARGV[word] do
  local kind = string.byte(ARGV[word])
  drafts[#drafts + 1], numbers[word] = word, #drafts + 1
  if (kind == CREATION or kind == RECORD) and ARGV[word + 4] ~= '' then
    digests[#digests + 1] = ARGV[word + 4]
  end
  word = word + ((kind == CREATION or kind == REVISION) and 7 or kind == DELETION and 4 or 6)
end
if #digests > 0 then
  known_keys = key_functions()
  known_keys.look_up(digests)
end
for _, draft in ipairs(drafts) do
  local digest = string.byte(ARGV[draft]) == CREATION and string.sub(ARGV[draft + 4], 1, DIGEST)
  if not digest or keys_of_run[digest] then
    end_run()
  end
  if refusal and failed[string.sub(ARGV[draft], 2)] then
    refuse(draft, refusal)
  else
    take(draft, digest)
  end
end
end_run()

if refused == #drafts then
  return redis.error_reply(refusal)
end
if earned ~= earned_before then
  redis.pcall('SET', KEYS[9], string.format('%.3f', earned), 'PX', whole(math.max(1, math.ceil(earned - NOW))))
end
if wrote then
  floor = math.max(floor, head - KEPT)
  if erasing ~= '-' then
    seldom().erase_edits(ERASE_LIMIT)
  end
  if math.floor(trimmed / TRIM_EVERY) < math.floor(floor / TRIM_EVERY) then
    seldom().trim(TRIM_LIMIT)
  end
  local tells = math.abs(NOW - told) >= IDLE_STEP
  told = tells and NOW or told
  save()
  if tells then
    redis.call('ZADD', IDLE, whole(NOW), CHANNEL)
  end
end
return {epoch, hinted and '1' or '0', unpack(answers)}
