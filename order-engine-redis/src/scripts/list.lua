-- Returns a page of orders, newest or oldest first. It walks along the smallest index that has all orders of the query,
-- and looks at no more than `scan` of them.
local has_user, user, status, tag, needs_attention, oldest_first, before, after, limit, scan = unpack(ARGV)
limit, scan = tonumber(limit), tonumber(scan)

local index, size = ORDERS, math.huge
local function consider(candidate)
  local candidate_size = redis.call('ZCARD', candidate)
  if candidate_size < size then
    index, size = candidate, candidate_size
  end
end
if has_user == '1' then
  consider(key('user', user))
end
if status ~= '' then
  consider(key('status', status))
end
if tag ~= '' then
  consider(key('tag', tag))
end
if needs_attention == '1' then
  consider(ATTENTION)
end

local function matches(order_user, order_status, order_tag, order_attention)
  return (has_user == '0' or order_user == user) and (status == '' or order_status == status)
    and (tag == '' or order_tag == tag)
    and (needs_attention == '0' or (order_attention and order_attention ~= '-'))
end

local least = after == '' and '-' or '(' .. after
local greatest = before == '' and '+' or '(' .. before
local ids
if oldest_first == '1' then
  ids = redis.call('ZRANGE', index, least, greatest, 'BYLEX', 'LIMIT', 0, scan)
else
  ids = redis.call('ZRANGE', index, greatest, least, 'BYLEX', 'REV', 'LIMIT', 0, scan)
end
local orders, seen = {}, 0
for _, id in ipairs(ids) do
  if #orders == limit then
    break
  end
  seen = seen + 1
  local failure, row, summary, order_user, order_tag = read_order_row(id, 'summary', 'user', 'tag')
  local _, _, order_status, _, order_attention = parse_summary(summary)
  if failure then
    orders[#orders + 1] = { id, false }
  elseif summary and not order_status then
    -- Its summary is damaged, and says nothing against it.
    orders[#orders + 1] = { id, row }
  elseif summary and matches(order_user, order_status, order_tag, order_attention) then
    orders[#orders + 1] = { id, row }
  end
end
local is_complete = seen == #ids and #ids < scan
return { not is_complete and ids[seen] or false, orders }
