-- Appends events to orders: one reply an order.

-- The number of arguments of an order without its events, and the positions of some.
local FIELDS, EXPECTED_SEQ, SEQ, RESERVATION, EVENT_COUNT = 15, 5, 8, 14, 15
-- The most values of one call of unpack, whose number Lua limits.
local PAGE = 64

-- Adds the arguments from one position to another to the history of an order.
local function push_events(id, first, last)
  for page = first, last, PAGE do
    redis.call('RPUSH', key('events', id), unpack(ARGV, page, math.min(page + PAGE - 1, last)))
  end
end

-- Moves an order from one set of a lane to the same of another. Without a new time it keeps the one it has.
local function move(set, id, from, to, at_ms)
  if from ~= to and from ~= '' then
    at_ms = at_ms or tonumber(redis.call('ZSCORE', key(set, from), id))
    redis.call('ZREM', key(set, from), id)
  end
  if to ~= '' and at_ms then
    redis.call('ZADD', key(set, to), text(at_ms), id)
  end
end

-- Moves an order from lane to lane, with a new due time or without one.
local function move_lane(id, from, to, due_ms, turn)
  if turn then
    move('turn_due', id, from, to, due_ms)
    move('turn', id, from, to, due_ms and turn_at(turn, due_ms))
  else
    move('due', id, from, to, due_ms)
  end
end

local function move_status(id, from, to)
  if from ~= to then
    redis.call('ZREM', key('status', from), id)
    redis.call('ZADD', key('status', to), 0, id)
  end
end

local function move_attention(id, from, to)
  if from ~= to and to == '' then
    redis.call('ZREM', ATTENTION, id)
  elseif from ~= to then
    redis.call('ZADD', ATTENTION, 0, id)
  end
end

-- Returns a nonce that an append reserves, the lowest number that may be free, and the account.
local function parse_reservation(reservation)
  return string.match(reservation, '^(%S+) (%S+) (.*)$')
end

-- Returns why a nonce cannot be reserved, or nil.
local function nonce_refusal(reservation)
  local nonce, first, account = parse_reservation(reservation)
  local free, failure = free_nonce(account, first)
  if failure then
    return { 'rejected', failure }
  end
  return free ~= nonce and { 'nonce-taken', free } or nil
end

-- Reserves a nonce before its order is written: a row that is written has its nonce, also if the write is torn.
local function reserve_nonce(id, reservation, write)
  local nonce, _, account = parse_reservation(reservation)
  local list = redis.call('HGET', key('order', id), 'nonces')
  redis.call('HSET', nonces_of(account), nonce, id .. ' ' .. write)
  redis.call('HSET', key('order', id), 'nonces', with_nonce(list, nonce, account))
end

local function append(write, first_event, id, epoch, owner, revoke, expected_seq, due_in_ms, not_after_ms, seq, status,
    lane, attention, updated_at, state, reservation, event_count)
  local failure, old_seq, old_epoch, old_owner, old_status, old_lane, old_attention, claims_without_progress, turn =
    read_order(id, 'seq', 'epoch', 'owner', 'status', 'lane', 'attention', 'claims_without_progress', 'turn')
  if failure then
    return { 'rejected', failure }
  end
  if not old_seq then
    return { 'not-found' }
  end
  local is_fenced = epoch ~= ''
  if is_fenced and (epoch ~= old_epoch or owner ~= old_owner) then
    return { 'stale-fence' }
  end
  if expected_seq ~= old_seq then
    return { 'stale-revision', old_seq }
  end
  if not_after_ms ~= '' and now_ms > tonumber(not_after_ms) then
    return { 'too-late' }
  end
  local surplus = surplus_events(id, old_seq)
  if surplus < 0 then
    flag_undecodable(id)
    return { 'rejected', 'the stored history does not lead to the stored order' }
  end
  local is_reserving = reservation ~= ''
  local refusal = is_reserving and nonce_refusal(reservation)
  if refusal then
    return refusal
  end
  if surplus > 0 then
    redis.call('LTRIM', key('events', id), 0, text(old_seq - 1))
  end
  push_events(id, first_event, first_event + event_count - 1)
  if is_reserving then
    reserve_nonce(id, reservation, write)
  end

  local new_epoch, new_owner, due_ms = old_epoch, old_owner, nil
  if revoke == '1' and old_owner ~= '' then
    new_epoch, new_owner, due_ms = text(tonumber(old_epoch) + 1), '', now_ms
  end
  if due_in_ms ~= '' then
    new_owner, due_ms = '', now_ms + due_in_ms
  end
  if lane == '' then
    new_owner = ''
  end
  -- Only a worker's write is progress, and only a worker writes under a fence.
  redis.call('HSET', key('order', id),
    'seq', seq, 'status', status, 'lane', lane, 'attention', attention, 'updated_at', updated_at, 'state', state,
    'epoch', new_epoch, 'owner', new_owner, 'claims_without_progress', is_fenced and '0' or claims_without_progress)
  move_lane(id, old_lane, lane, due_ms, turn)
  move_status(id, old_status, status)
  move_attention(id, old_attention, attention)
  add_outbox_entries(id, expected_seq)
  add_to_feed(id, expected_seq + 1, seq)
  return { 'written' }
end

local firsts, touched, first = {}, {}, 1
while first <= #ARGV do
  firsts[#firsts + 1] = first
  local last_seq, reservation = ARGV[first + EXPECTED_SEQ - 1], ARGV[first + RESERVATION - 1]
  if reservation ~= '' then
    last_seq = last_seq .. ' ' .. ARGV[first + SEQ - 1] .. ' ' .. reservation
  end
  touch(touched, ARGV[first], last_seq)
  first = first + FIELDS + ARGV[first + EVENT_COUNT - 1]
end
return write_items('append', touched, firsts, function(first, write)
  return append(write, first + FIELDS, unpack(ARGV, first, first + FIELDS - 1))
end, write_feed)
