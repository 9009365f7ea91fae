-- Note that a holder is dead: it enters nobody from now on. KEYS: the note (presence_keys.py, `held`). ARGV: for how long, ms.
redis.call('DEL', KEYS[1])   -- a full Redis refuses nothing after it
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return redis.status_reply('OK')
