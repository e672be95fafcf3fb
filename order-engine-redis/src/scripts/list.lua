-- Returns a page of orders, newest first. It walks along the smallest index that has all orders of the query,
-- and looks at no more than `scan` of them.
local query = arguments(1, { 'has_user', 'user', 'status', 'needs_attention', 'before', 'limit', 'scan' })
local limit, scan = tonumber(query.limit), tonumber(query.scan)

local index, size = ORDERS, math.huge
local function consider(candidate)
  local candidate_size = redis.call('ZCARD', candidate)
  if candidate_size < size then
    index, size = candidate, candidate_size
  end
end
if query.has_user == '1' then
  consider(key('user', query.user))
end
if query.status ~= '' then
  consider(key('status', query.status))
end
if query.needs_attention == '1' then
  consider(ATTENTION)
end

local function matches(order)
  return (query.has_user == '0' or order.user == query.user)
    and (query.status == '' or order.status == query.status)
    and (query.needs_attention == '0' or (order.attention and order.attention ~= ''))
end

local last = query.before == '' and '+' or '(' .. query.before
local ids = redis.call('ZRANGE', index, last, '-', 'BYLEX', 'REV', 'LIMIT', 0, scan)
local orders, seen = {}, 0
for _, id in ipairs(ids) do
  if #orders == limit then
    break
  end
  seen = seen + 1
  local order, failure = read_order(id, 'user', 'status', 'attention', unpack(ORDER_FIELDS))
  if failure then
    orders[#orders + 1] = { id, false }
  elseif order.seq and matches(order) then
    orders[#orders + 1] = { id, order_row(order) }
  end
end
local is_complete = seen == #ids and #ids < scan
return { not is_complete and ids[seen] or false, orders }
