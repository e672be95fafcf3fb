-- Repairs what torn writes left. Every connection runs it before anything else, so that no process reads what
-- they left or builds on it. The arguments are all statuses.
--
-- The row is the truth: every write of an order sets all that it changes in its row, with its events, so that the last
-- write counts. Everything else about the order is made what the row says.
local LANES = { 'execute', 'observe' }

-- Deletes the events of torn writes that the history does not lead to, unless a write of the history is missing.
local function repair_history(id, seq)
  local kept, next_seq = {}, 1
  for first, last in writes_from(id, 1) do
    if first <= seq then
      kept[events_field(first)], next_seq = true, last + 1
    end
  end
  for _, field in ipairs(redis.call('HKEYS', key('order', id))) do
    if next_seq == seq + 1 and string.match(field, '^e%d+$') and not kept[field] then
      redis.call('HDEL', key('order', id), field)
    end
  end
end

-- Returns whether the history of an order has a write.
local function has_write(id, first_seq, last_seq)
  local summary, events = unpack(redis.call('HMGET', key('order', id), 'summary', events_field(first_seq)))
  return events and last_of(events) == last_seq and last_seq <= (last_seq_of(summary) or 0)
end

-- Puts an order into an index or takes it out. A score that the order has there stays.
local function repair_index(index, id, is_member, score)
  if is_member then
    redis.call('ZADD', index, 'NX', score, id)
  else
    redis.call('ZREM', index, id)
  end
end

-- Adds an outbox entry for each sink that may miss events, and lists existing entries where relays look.
local function repair_outbox(id, seq, delivered_seq)
  for _, sink in ipairs(redis.call('SMEMBERS', SINKS)) do
    local has_entry = redis.call('HEXISTS', key('outbox', id), sink) == 1
    if not has_entry and delivered_seq and delivered_seq < seq then
      write_outbox_entry(id, sink,
        { delivered_seq = text(delivered_seq), epoch = '0', failures = '0', owner = '' })
      has_entry = true
    end
    repair_index(key('outbox_due', sink), id, has_entry, text(now_ms))
    repair_index(key('outbox_pending', sink), id, has_entry, text(now_ms))
  end
end

-- Makes the row of an order list exactly the nonces that are reserved for it.
local function list_own_nonces(id, list)
  local own = ''
  for _, listed in ipairs(listed_nonces(list)) do
    if owns_nonce(id, listed.account, listed.nonce) then
      own = with_nonce(own, listed.nonce, listed.account)
    end
  end
  if list and own ~= list then
    redis.call('HSET', key('order', id), 'nonces', own)
  end
end

-- Forgets the nonce that a torn append reserved if the order was not written by it, or was written since: nobody uses
-- the nonce then, and it would be a gap. The order has other writes then, or another write has put the torn one's events
-- into the feed.
local function undo_reservation(id, write, first_seq, reservation)
  local seq, nonce, account = string.match(reservation, '^(%d+) (%S+) %S+ (.*)$')
  local _, summary, list = read_order(id, 'summary', 'nonces')
  local place = redis.call('ZSCORE', FEED, feed_member(id, text(first_seq), seq))
  local is_last = last_seq_of(summary) == tonumber(seq) and has_write(id, first_seq, tonumber(seq))
  if is_last and (not place or tonumber(place) == tonumber(write)) then
    return
  end
  if redis.call('HGET', nonces_of(account), nonce) == id .. ' ' .. write then
    redis.call('HDEL', nonces_of(account), nonce)
  end
  list_own_nonces(id, list)
end

-- Reserves the nonces that the row of an order lists, as far as no other order has them.
local function repair_nonces(id, list, write)
  for _, listed in ipairs(listed_nonces(list)) do
    redis.pcall('HSETNX', nonces_of(listed.account), listed.nonce, id .. ' ' .. write)
  end
  list_own_nonces(id, list)
end

-- Deletes an order that a torn write created or did not delete in full, with its outbox entries.
local function delete_torn_order(id, user, client_order_id, tag, members)
  for _, lane in ipairs(LANES) do
    unschedule(id, lane)
  end
  for _, sink in ipairs(redis.call('SMEMBERS', SINKS)) do
    delete_outbox_entry(id, sink)
  end
  delete_order(id, user, client_order_id, tag, ARGV, members)
end

-- Returns whether a torn creation made the order, so that every query since then has answered that it does not exist. A
-- later creation has put its event into the feed.
local function is_of_torn_creation(id, torn_creation, seq, epoch)
  local place = redis.call('ZSCORE', FEED, feed_member(id, '1', '1'))
  -- The epoch is 1 if the creation leased the order.
  return seq == '1' and (epoch == '0' or epoch == '1') and (not place or tonumber(place) == tonumber(torn_creation))
end

local function repair_order(touched, torn_creation, write)
  local id, delivered_seq = touched.id, touched.last_seq
  local failure, user, client_order_id, tag, summary, lease, nonces =
    read_order(id, 'user', 'client_order_id', 'tag', 'summary', 'lease', 'nonces')
  local _, seq, status, lane, attention = parse_summary(summary)
  local epoch, _, _, turn = parse_lease(lease)
  if failure or summary and not (seq and epoch) then
    return
  end
  local was_never_seen = torn_creation and summary and is_of_torn_creation(id, torn_creation, seq, epoch)
  if not summary or was_never_seen then
    return delete_torn_order(id, user, client_order_id, tag, members_to(id, touched.last_seqs or '1'))
  end
  repair_history(id, tonumber(seq))
  redis.call('ZADD', ORDERS, 0, id)
  redis.call('ZADD', key('user', user), 0, id)
  if client_order_id then
    redis.call('HSETNX', key('client_order_ids', user), client_order_id, id)
  end
  if tag then
    redis.call('ZADD', key('tag', tag), 0, id)
  end
  for _, name in ipairs(ARGV) do
    repair_index(key('status', name), id, name == status, 0)
  end
  for _, name in ipairs(LANES) do
    if name == lane then
      restore(id, lane, turn)
    else
      unschedule(id, name)
    end
  end
  repair_index(ATTENTION, id, attention ~= '-', 0)
  repair_nonces(id, nonces, write)
  repair_outbox(id, tonumber(seq), delivered_seq)
end

-- Makes the feed have each event of an order once. Nobody has read an event at the place of the torn write, and
-- somebody may have read all places after it, so its events move to the place of this repair. What has no event
-- goes.
local function repair_places(torn, write)
  local members = redis.call('ZRANGE', FEED, torn, torn, 'BYSCORE')
  local events, others = {}, {}
  for _, member in ipairs(members) do
    local id, first_seq, last_seq = feed_write(member)
    local found, is_write = pcall(has_write, id or '', first_seq or 0, last_seq)
    table.insert(found and is_write and events or others, member)
  end
  take_out(others)
  place(write, events)
end

-- Gives the writes of an order after an event a place in the feed if they have none.
local function add_places(id, after_seq, write)
  if after_seq then
    place(write, feed_members(id, after_seq + 1), true)
  end
end

-- Returns the notes of the intent log whose writes are not complete: each the number of the write, its kind,
-- and the orders that it touches.
local function torn_writes()
  local notes = redis.call('HGETALL', INTENTS)
  local last = redis.call('HGET', INTENTS, 'last')
  local torn = {}
  for n = 1, #notes, 2 do
    local write, note = notes[n], notes[n + 1]
    if write ~= 'last' and write ~= last then
      local lines, touched = {}, {}
      for line in string.gmatch(note .. '\n', '(.-)\n') do
        lines[#lines + 1] = line
      end
      for n = 2, #lines - 1, 2 do
        local last_seq, rest = string.match(lines[n + 1], '^(%d*) ?(.*)$')
        touched[#touched + 1] = {
          id = lines[n], last_seq = tonumber(last_seq),
          reservation = lines[1] == 'append' and rest ~= '' and rest,
          last_seqs = lines[1] == 'purge' and rest,
        }
      end
      torn[#torn + 1] = { write = write, kind = lines[1], touched = touched }
    end
  end
  return torn
end

-- The commands that begin and end this write make it a transaction, and that ends a transaction that a torn
-- write left open in the file: Redis would treat all later writes as part of the open one. This write notes no
-- orders: if it is torn as well, the next repair does the same again.
local torn = torn_writes()
local write = begin_write('repair', {})
local repaired = 0
-- First, because what follows gives events other places in the feed, and reserves the nonces of rows.
for _, one in ipairs(torn) do
  for _, touched in ipairs(one.touched) do
    if touched.reservation then
      pcall(undo_reservation, touched.id, one.write, touched.last_seq + 1, touched.reservation)
    end
  end
end
for _, one in ipairs(torn) do
  local sink = string.match(one.kind, '^unregister_sink (.*)$')
  if sink then
    -- The caller got no answer, and an engine may still rely on the sink.
    redis.call('SADD', SINKS, sink)
  end
  local torn_creation = one.kind == 'create' and one.write
  for _, touched in ipairs(one.touched) do
    -- A key that holds something else keeps its order as it is. It must not keep processes from connecting.
    local is_repaired = pcall(repair_order, touched, torn_creation, write)
    repaired = repaired + (is_repaired and 1 or 0)
    pcall(add_places, touched.id, touched.last_seq, write)
  end
  pcall(repair_places, one.write, write)
  redis.call('HDEL', INTENTS, one.write)
end
end_write(write)
return { #torn, repaired }
