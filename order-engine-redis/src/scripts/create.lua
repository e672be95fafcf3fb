-- Accepts orders: one reply an order.

-- The number of arguments of an order.
local FIELDS = 20

local function existing(id)
  local failure, row = read_order_row(id)
  if failure then
    return { 'rejected', failure }
  end
  return { 'existing', id, row }
end

local function create(write, id, user, is_named, client_order_id, origin, request, status, lane, attention,
    created_at, updated_at, seq, state, event, tag, not_before_ms, handicap_ms, head_start_ms, owner, lease_ms)
  if is_named == '1' then
    local named = redis.pcall('HGET', key('client_order_ids', user), client_order_id)
    if type(named) == 'table' then
      return { 'rejected', named.err }
    end
    if named and redis.call('EXISTS', key('order', named)) == 1 then
      return existing(named)
    end
  end
  if redis.call('EXISTS', key('order', id)) == 1 then
    return existing(id)
  end
  local is_leased = owner ~= ''
  local first_claim = is_leased and '1' or '0'
  local turn = false
  if handicap_ms ~= '0' or head_start_ms ~= '0' then
    turn = text(now_ms + handicap_ms) .. ' ' .. head_start_ms
  end
  -- Events and outbox entries without a row are left from a torn creation, whose caller got no answer.
  redis.call('UNLINK', key('events', id), key('outbox', id))
  redis.call('RPUSH', key('events', id), event)
  redis.call('HSET', key('order', id),
    'user', user, 'origin', origin, 'request', request, 'status', status, 'lane', lane,
    'attention', attention, 'created_at', created_at, 'updated_at', updated_at, 'seq', seq,
    'state', state, 'epoch', first_claim, 'owner', owner, 'claims_without_progress', first_claim,
    'created_by', write)
  if turn then
    redis.call('HSET', key('order', id), 'turn', turn)
  end
  if is_named == '1' then
    redis.call('HSET', key('order', id), 'client_order_id', client_order_id)
    redis.call('HSET', key('client_order_ids', user), client_order_id, id)
  end
  if tag ~= '' then
    redis.call('HSET', key('order', id), 'tag', tag)
    redis.call('ZADD', key('tag', tag), 0, id)
  end
  redis.call('ZADD', ORDERS, 0, id)
  redis.call('ZADD', key('user', user), 0, id)
  redis.call('ZADD', key('status', status), 0, id)
  if attention ~= '' then
    redis.call('ZADD', ATTENTION, 0, id)
  end
  if lane ~= '' then
    local due_ms = is_leased and now_ms + lease_ms or math.max(now_ms, tonumber(not_before_ms) or 0)
    schedule(id, lane, due_ms, turn, is_leased)
  end
  add_outbox_entries(id, '0')
  add_to_feed(id, 1, seq)
  return { 'created' }
end

local firsts, touched = {}, {}
for first = 1, #ARGV, FIELDS do
  firsts[#firsts + 1] = first
  touch(touched, ARGV[first], '0')
end
return write_items('create', touched, firsts, function(first, write)
  return create(write, unpack(ARGV, first, first + FIELDS - 1))
end, write_feed)
