-- Deletes orders that ended long ago: one step of a walk over all orders.
local after, limit, ended_before_ms, named_ended_before_ms = unpack(ARGV)

-- Returns what is needed to delete an order, or nil if the order is to stay.
local function expired(id)
  local _, summary, client_order_id, user, tag, nonces =
    read_order(id, 'summary', 'client_order_id', 'user', 'tag', 'nonces')
  local _, seq, status, _, _, updated_at = parse_summary(summary)
  local updated_ms = tonumber(updated_at)
  local before_ms = tonumber(client_order_id and named_ended_before_ms or ended_before_ms)
  local has_ended = status == 'confirmed' or status == 'failed'
  if not has_ended or not updated_ms or updated_ms >= before_ms
    or redis.call('EXISTS', key('outbox', id)) == 1 then
    return nil
  end
  return {
    id = id, user = user, client_order_id = client_order_id, tag = tag, status = status, seq = seq, nonces = nonces,
    members = feed_members(id, 1),
  }
end

local first = after == '' and '-' or '(' .. after
local ids = redis.call('ZRANGE', ORDERS, first, '+', 'BYLEX', 'LIMIT', 0, limit)
local orders, touched = {}, {}
for _, id in ipairs(ids) do
  local order = expired(id)
  if order then
    orders[#orders + 1] = order
    touch(touched, id, order.seq .. ' ' .. last_seqs_of(order.members))
  end
end
if #orders > 0 then
  write_items('purge', touched, orders, function(order)
    delete_order(order.id, order.user, order.client_order_id, order.tag, { order.status }, order.members, order.nonces)
  end)
end
return { #orders, #ids, ids[#ids] or false }
