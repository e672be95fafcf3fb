-- Appends events to orders: one reply an order.

-- The number of arguments of an order, and the positions of some.
local FIELDS, GUARD, SUMMARY, RESERVATION = 6, 2, 3, 6

-- Moves an order from one set of a lane to the same of another. Without a new time it keeps the one it has.
local function move(set, id, from, to, at_ms)
  if from ~= to and from ~= '-' then
    at_ms = at_ms or to ~= '-' and score_of(key(set, from), id)
    set_score(key(set, from), id, false)
  end
  if to ~= '-' and at_ms then
    set_score(key(set, to), id, text(at_ms))
  end
end

-- Moves an order from lane to lane, with a new due time or without one.
local function move_lane(id, from, to, due_ms, turn)
  if from == to and not due_ms then
    return
  elseif turn then
    move('turn_due', id, from, to, due_ms)
    move('turn', id, from, to, due_ms and turn_at(turn, due_ms))
  else
    move('due', id, from, to, due_ms)
  end
end

local function move_status(id, from, to)
  if from ~= to then
    set_score(key('status', from), id, false)
    set_score(key('status', to), id, '0')
  end
end

local function move_attention(id, from, to)
  if from ~= to then
    set_score(ATTENTION, id, to ~= '-' and '0')
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

-- `guard` is the expected number of the last event, then the epoch and the owner of the fence, or 'revoke' or 'keep' for
-- a lease that may be another's, then the wait until the order is due, and until when the append may be written; the
-- last two are '-' if there are none.
local function append(write, id, guard, summary, state, events, reservation)
  local order_key = key('order', id)
  local failure, old_summary, old_lease = read_order(id, 'summary', 'lease')
  if failure then
    return { 'rejected', failure }
  end
  if not old_summary then
    return { 'not-found' }
  end
  local old_first_seq, old_seq, old_status, old_lane, old_attention = parse_summary(old_summary)
  local old_epoch, old_owner, claims_without_progress, turn = parse_lease(old_lease)
  if not old_seq or not old_epoch then
    flag_undecodable(id, old_summary)
    return { 'rejected', 'the stored order is damaged' }
  end
  local expected_seq, fence, due_in_ms, not_after_ms = string.match(guard, '^(%d+) (.*) (%S+) (%S+)$')
  local is_fenced = fence ~= 'revoke' and fence ~= 'keep'
  if is_fenced and fence ~= old_epoch .. ' ' .. old_owner then
    return { 'stale-fence' }
  end
  if expected_seq ~= old_seq then
    return { 'stale-revision', old_seq }
  end
  if not_after_ms ~= '-' and now_ms > tonumber(not_after_ms) then
    return { 'too-late' }
  end
  if not has_last_write(id, old_first_seq) then
    flag_undecodable(id, old_summary)
    return { 'rejected', 'the stored history does not lead to the stored order' }
  end
  local is_reserving = reservation ~= ''
  local refusal = is_reserving and nonce_refusal(reservation)
  if refusal then
    return refusal
  end
  if is_reserving then
    reserve_nonce(id, reservation, write)
  end

  local first_seq, seq, status, lane, attention = parse_summary(summary)
  local epoch, owner, due_ms = old_epoch, old_owner, nil
  if fence == 'revoke' and old_owner ~= '' then
    epoch, owner, due_ms = text(tonumber(old_epoch) + 1), '', now_ms
  end
  if due_in_ms ~= '-' then
    owner, due_ms = '', now_ms + due_in_ms
  end
  if lane == '-' then
    owner = ''
  end
  -- Only a worker's write is progress, and only a worker writes under a fence.
  local lease = lease_text(epoch, owner, is_fenced and '0' or claims_without_progress, turn)
  redis.call('HSET', order_key,
    'summary', summary, 'state', state, 'lease', lease, 'e' .. first_seq, events)
  move_lane(id, old_lane, lane, due_ms, turn)
  move_status(id, old_status, status)
  move_attention(id, old_attention, attention)
  add_outbox_entries(id, expected_seq)
  add_to_feed(id, first_seq, seq)
  return { 'written' }
end

local firsts, touched = {}, {}
for first = 1, #ARGV, FIELDS do
  firsts[#firsts + 1] = first
  local reservation = ARGV[first + RESERVATION - 1]
  local last_seq = string.match(ARGV[first + GUARD - 1], '^%d+')
  if reservation ~= '' then
    last_seq = last_seq .. ' ' .. text(last_seq_of(ARGV[first + SUMMARY - 1])) .. ' ' .. reservation
  end
  touch(touched, ARGV[first], last_seq)
end
return write_items('append', touched, firsts, function(first, write)
  return append(write, unpack(ARGV, first, first + FIELDS - 1))
end, finish)
