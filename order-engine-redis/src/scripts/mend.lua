-- Mends what torn runs left. Every connection runs it before anything else, so that nobody sees or builds on
-- what they left. ARGV are all statuses.
--
-- The row is the truth: every write of an order writes all that it changes in its row, so that the last one
-- counts. Everything else about the order is made what the row says it is.
local lanes = { 'execute', 'observe' }
local PAGE = 64

-- Keeps one event of each number: the one written last, since it was written by who wrote the row.
local function mend_history(id, seq)
  local length = redis.call('LLEN', key('events', id))
  if length <= seq then
    return
  end
  local stored = redis.call('LRANGE', key('events', id), 0, -1)
  local kept, wanted = {}, seq
  for n = length, 1, -1 do
    if tonumber(string.match(stored[n], '^{"version":%d+,"seq":(%d+)')) == wanted then
      kept[wanted] = stored[n]
      wanted = wanted - 1
    end
  end
  if wanted > 0 then
    -- There is a hole, which nobody can fill.
    return
  end
  redis.call('UNLINK', key('events', id))
  for page = 1, seq, PAGE do
    redis.call('RPUSH', key('events', id), unpack(kept, page, math.min(page + PAGE - 1, seq)))
  end
end

local function belongs(index, id, is_in, score)
  if is_in then
    redis.call('ZADD', index, 'NX', score, id)
  else
    redis.call('ZREM', index, id)
  end
end

-- Owes what a sink may have missed, or puts an existing debt back where relays look.
local function mend_debts(id, seq, delivered_seq)
  for _, sink in ipairs(redis.call('SMEMBERS', prefix .. ':sinks')) do
    local is_owed = redis.call('HEXISTS', key('debt', id), sink) == 1
    if not is_owed and delivered_seq and delivered_seq < seq then
      keep_debt(id, sink, text(delivered_seq), '0', '0', '')
      is_owed = true
    end
    belongs(key('debts', sink), id, is_owed, text(now_ms))
    belongs(key('owed', sink), id, is_owed, text(now_ms))
  end
end

local function mend(id, delivered_seq, created_by)
  local row, failure = read(id, 'user', 'client_order_id', 'status', 'lane', 'attention', 'seq', 'epoch', 'run')
  if failure then
    return
  end
  local user, client, status, lane, attention, seq, epoch, run = unpack(row, 1, 8)
  -- Whoever asked for an order that a torn run created was told since that there is none.
  local was_never_there = run and run == created_by and seq == '1' and epoch == '0'
  if not seq or was_never_there then
    for _, name in ipairs(lanes) do
      redis.call('ZREM', key('due', name), id)
    end
    for _, sink in ipairs(redis.call('SMEMBERS', prefix .. ':sinks')) do
      end_debt(id, sink)
    end
    return forget(id, user, client, ARGV)
  end
  mend_history(id, tonumber(seq))
  redis.call('ZADD', prefix .. ':orders', 0, id)
  redis.call('ZADD', key('user', user), 0, id)
  if client then
    redis.call('HSETNX', key('names', user), client, id)
  end
  for _, name in ipairs(ARGV) do
    belongs(key('status', name), id, name == status, 0)
  end
  for _, name in ipairs(lanes) do
    belongs(key('due', name), id, name == lane, text(now_ms))
  end
  belongs(prefix .. ':attention', id, attention ~= '', 0)
  mend_debts(id, tonumber(seq), delivered_seq)
end

local notes = redis.call('HGETALL', runs)
local last = redis.call('HGET', runs, 'last')
local torn = {}
for n = 1, #notes, 2 do
  if notes[n] ~= 'last' and notes[n] ~= last then
    local words = {}
    for word in string.gmatch(notes[n + 1] .. '\n', '(.-)\n') do
      words[#words + 1] = word
    end
    torn[#torn + 1] = { run = notes[n], words = words }
  end
end

-- What begins and ends it makes it a transaction, which ends one that a torn run left open in the file: all that
-- came after that would wait for the next one. It notes no orders: if it is torn, the next one does the same.
local run = begin('mend', {})
local mended = 0
for _, one in ipairs(torn) do
  local sink = string.match(one.words[1], '^forget (.*)$')
  if sink then
    -- Nobody was told that it is forgotten, and an engine may count on it.
    redis.call('SADD', prefix .. ':sinks', sink)
  end
  for n = 2, #one.words - 1, 2 do
    -- A key that holds something else keeps its order as it is, and nobody from connecting.
    local is_mended = pcall(mend, one.words[n], tonumber(one.words[n + 1]), one.words[1] == 'create' and one.run)
    mended = mended + (is_mended and 1 or 0)
  end
  redis.call('HDEL', runs, one.run)
end
finish(run)
return { #torn, mended }
