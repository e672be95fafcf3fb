-- One step of a walk over all orders that forgets those that ended long ago.
local after, limit, ended_before_ms, named_ended_before_ms = unpack(ARGV, 1, 4)

local function forget(id)
  local row = read(id, 'status', 'updated_at', 'client_order_id', 'user')
  local status, updated_at, client, user = unpack(row, 1, 4)
  local updated_ms = tonumber(updated_at)
  local before_ms = tonumber(client and named_ended_before_ms or ended_before_ms)
  if (status ~= 'confirmed' and status ~= 'failed') or not updated_ms or updated_ms >= before_ms
    or redis.call('EXISTS', key('debt', id)) == 1 then
    return 0
  end
  if client and redis.call('HGET', key('names', user), client) == id then
    redis.call('HDEL', key('names', user), client)
  end
  redis.call('ZREM', key('user', user), id)
  redis.call('ZREM', key('status', status), id)
  redis.call('ZREM', prefix .. ':attention', id)
  redis.call('ZREM', prefix .. ':orders', id)
  redis.call('UNLINK', key('order', id), key('events', id))
  return 1
end

local ids = redis.call('ZRANGE', prefix .. ':orders', after == '' and '-' or '(' .. after, '+', 'BYLEX', 'LIMIT', 0, limit)
local forgotten = 0
for _, id in ipairs(ids) do
  forgotten = forgotten + forget(id)
end
return { forgotten, #ids, ids[#ids] or false }
