-- Accepts orders. Each item is FIELDS arguments, and gets one reply.
local FIELDS = 14

local function existing(id)
  local row, failure = read(id, 'origin', 'request', 'state', 'seq', 'created_at', 'updated_at')
  if failure then
    return { 'refused', failure }
  end
  return { 'existing', id, row }
end

local function create(id, user, is_named, client, origin, request, status, lane, attention, created_at, updated_at, seq, state, event)
  if is_named == '1' then
    local named = redis.pcall('HGET', key('names', user), client)
    if type(named) == 'table' then
      return { 'refused', named.err }
    end
    if named and redis.call('EXISTS', key('order', named)) == 1 then
      return existing(named)
    end
  end
  if redis.call('EXISTS', key('order', id)) == 1 then
    return existing(id)
  end
  -- The first write is the only one that damage can make fail, and it is taken back then.
  local length = redis.pcall('RPUSH', key('events', id), event)
  if length ~= 1 then
    if type(length) ~= 'table' then
      redis.call('RPOP', key('events', id))
    end
    return { 'refused', 'the order is gone, but something is there in the place of its history' }
  end
  redis.call('HSET', key('order', id),
    'user', user, 'origin', origin, 'request', request, 'status', status, 'lane', lane, 'attention', attention,
    'created_at', created_at, 'updated_at', updated_at, 'seq', seq, 'state', state,
    'epoch', '0', 'owner', '', 'fruitless', '0')
  if is_named == '1' then
    redis.call('HSET', key('order', id), 'client_order_id', client)
    redis.call('HSET', key('names', user), client, id)
  end
  redis.call('ZADD', prefix .. ':orders', 0, id)
  redis.call('ZADD', key('user', user), 0, id)
  redis.call('ZADD', key('status', status), 0, id)
  if attention ~= '' then
    redis.call('ZADD', prefix .. ':attention', 0, id)
  end
  if lane ~= '' then
    redis.call('ZADD', key('due', lane), text(now_ms), id)
  end
  owe(id, '0')
  return { 'created' }
end

local replies = {}
for first = 1, #ARGV, FIELDS do
  replies[#replies + 1] = create(unpack(ARGV, first, first + FIELDS - 1))
end
return replies
