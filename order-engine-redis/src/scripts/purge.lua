-- One step of a walk over all orders that forgets those that ended long ago.
local after, limit, ended_before_ms, named_ended_before_ms = unpack(ARGV, 1, 4)

-- An order that is to be forgotten: where it stands.
local function is_over(id)
  local row = read(id, 'status', 'updated_at', 'client_order_id', 'user')
  local status, updated_at, client, user = unpack(row, 1, 4)
  local updated_ms = tonumber(updated_at)
  local before_ms = tonumber(client and named_ended_before_ms or ended_before_ms)
  if (status ~= 'confirmed' and status ~= 'failed') or not updated_ms or updated_ms >= before_ms
    or redis.call('EXISTS', key('debt', id)) == 1 then
    return nil
  end
  return { id = id, user = user, client = client, status = status }
end

local ids = redis.call('ZRANGE', prefix .. ':orders', after == '' and '-' or '(' .. after, '+', 'BYLEX', 'LIMIT', 0, limit)
local over, touched = {}, {}
for _, id in ipairs(ids) do
  local order = is_over(id)
  if order then
    over[#over + 1] = order
    touched[#touched + 1] = id
    touched[#touched + 1] = ''
  end
end
if #over > 0 then
  local run = begin('purge', touched)
  for _, order in ipairs(over) do
    forget(order.id, order.user, order.client, { order.status })
  end
  finish(run)
end
return { #over, #ids, ids[#ids] or false }
