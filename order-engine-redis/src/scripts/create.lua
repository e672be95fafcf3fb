-- Accepts orders: one reply an order.
local FIELDS = {
  'id', 'user', 'is_named', 'client_order_id', 'origin', 'request', 'status', 'lane', 'attention', 'created_at',
  'updated_at', 'seq', 'state', 'event',
}

local function existing(id)
  local order, failure = read_order(id, unpack(ORDER_FIELDS))
  if failure then
    return { 'rejected', failure }
  end
  return { 'existing', id, order_row(order) }
end

local function create(new, write)
  local id, is_named, client_order_ids = new.id, new.is_named == '1', key('client_order_ids', new.user)
  if is_named then
    local named = redis.pcall('HGET', client_order_ids, new.client_order_id)
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
  -- Events and outbox entries without a row are left from a torn creation, whose caller got no answer.
  redis.call('UNLINK', key('events', id), key('outbox', id))
  redis.call('RPUSH', key('events', id), new.event)
  redis.call('HSET', key('order', id),
    'user', new.user, 'origin', new.origin, 'request', new.request, 'status', new.status, 'lane', new.lane,
    'attention', new.attention, 'created_at', new.created_at, 'updated_at', new.updated_at, 'seq', new.seq,
    'state', new.state, 'epoch', '0', 'owner', '', 'claims_without_progress', '0', 'created_by', write)
  if is_named then
    redis.call('HSET', key('order', id), 'client_order_id', new.client_order_id)
    redis.call('HSET', client_order_ids, new.client_order_id, id)
  end
  redis.call('ZADD', ORDERS, 0, id)
  redis.call('ZADD', key('user', new.user), 0, id)
  redis.call('ZADD', key('status', new.status), 0, id)
  if new.attention ~= '' then
    redis.call('ZADD', ATTENTION, 0, id)
  end
  if new.lane ~= '' then
    redis.call('ZADD', key('due', new.lane), text(now_ms), id)
  end
  add_outbox_entries(id, '0')
  return { 'created' }
end

local orders, touched = {}, {}
for first = 1, #ARGV, #FIELDS do
  local new = arguments(first, FIELDS)
  orders[#orders + 1] = new
  touched[#touched + 1] = new.id
  touched[#touched + 1] = '0'
end
local write = begin_write('create', touched)
local replies = {}
for n, new in ipairs(orders) do
  replies[n] = create(new, write)
end
end_write(write)
return replies
