-- Deletes an order, its index entries and its nonces. The row goes after these, because it says which indexes have
-- the order and lists its nonces.
-- Its members leave the feed last: while the order is there, all of them are in the feed.
local function delete_order(id, user, client_order_id, tag, statuses, members, nonces)
  if client_order_id and redis.call('HGET', key('client_order_ids', user), client_order_id) == id then
    redis.call('HDEL', key('client_order_ids', user), client_order_id)
  end
  if user then
    redis.call('ZREM', key('user', user), id)
  end
  if tag then
    redis.call('ZREM', key('tag', tag), id)
  end
  for _, status in ipairs(statuses) do
    redis.call('ZREM', key('status', status), id)
  end
  forget_nonces(id, nonces)
  redis.call('ZREM', ATTENTION, id)
  redis.call('ZREM', ORDERS, id)
  redis.call('UNLINK', key('order', id))
  take_out(members)
end
