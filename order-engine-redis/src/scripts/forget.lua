-- Takes an order out of everything. The row goes last: it knows where the order stands.
local function forget(id, user, client, statuses)
  if client and redis.call('HGET', key('names', user), client) == id then
    redis.call('HDEL', key('names', user), client)
  end
  if user then
    redis.call('ZREM', key('user', user), id)
  end
  for _, status in ipairs(statuses) do
    redis.call('ZREM', key('status', status), id)
  end
  redis.call('ZREM', prefix .. ':attention', id)
  redis.call('ZREM', prefix .. ':orders', id)
  redis.call('UNLINK', key('order', id), key('events', id))
end
