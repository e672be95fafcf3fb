-- Accepts orders. Each item is FIELDS arguments, and gets one reply.
local FIELDS = 14

local function existing(id)
  local row, failure = read(id, 'origin', 'request', 'state', 'seq', 'created_at', 'updated_at')
  if failure then
    return { 'refused', failure }
  end
  return { 'existing', id, row }
end

local function create(run, id, user, is_named, client, origin, request, status, lane, attention, created_at, updated_at, seq, state, event)
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
  -- Whatever is there without a row is of an order that nobody was ever told of.
  redis.call('UNLINK', key('events', id), key('debt', id))
  redis.call('RPUSH', key('events', id), event)
  redis.call('HSET', key('order', id),
    'user', user, 'origin', origin, 'request', request, 'status', status, 'lane', lane, 'attention', attention,
    'created_at', created_at, 'updated_at', updated_at, 'seq', seq, 'state', state,
    'epoch', '0', 'owner', '', 'fruitless', '0', 'run', run)
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

local touched = {}
for first = 1, #ARGV, FIELDS do
  touched[#touched + 1] = ARGV[first]
  touched[#touched + 1] = '0'
end
local run = begin('create', touched)
local replies = {}
for first = 1, #ARGV, FIELDS do
  replies[#replies + 1] = create(run, unpack(ARGV, first, first + FIELDS - 1))
end
finish(run)
return replies
