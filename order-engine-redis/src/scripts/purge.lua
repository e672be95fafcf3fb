-- Deletes orders that ended long ago: one step of a walk over all orders.
local request = arguments(1, { 'after', 'limit', 'ended_before_ms', 'named_ended_before_ms' })

-- Returns an order if it is to be deleted, and otherwise nil.
local function expired(id)
  local order = read_order(id, 'status', 'updated_at', 'client_order_id', 'user')
  local updated_ms = tonumber(order.updated_at)
  local before_ms = order.client_order_id and request.named_ended_before_ms or request.ended_before_ms
  local has_ended = order.status == 'confirmed' or order.status == 'failed'
  if not has_ended or not updated_ms or updated_ms >= tonumber(before_ms)
    or redis.call('EXISTS', key('outbox', id)) == 1 then
    return nil
  end
  order.id = id
  return order
end

local first = request.after == '' and '-' or '(' .. request.after
local ids = redis.call('ZRANGE', ORDERS, first, '+', 'BYLEX', 'LIMIT', 0, request.limit)
local orders, touched = {}, {}
for _, id in ipairs(ids) do
  local order = expired(id)
  if order then
    orders[#orders + 1] = order
    touched[#touched + 1] = id
    touched[#touched + 1] = ''
  end
end
if #orders > 0 then
  local write = begin_write('purge', touched)
  for _, order in ipairs(orders) do
    delete_order(order.id, order.user, order.client_order_id, { order.status })
  end
  end_write(write)
end
return { #orders, #ids, ids[#ids] or false }
