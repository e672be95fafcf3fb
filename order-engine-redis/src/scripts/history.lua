-- How many events a history has beyond its row: none, unless something that no row knows was added. Less
-- than none if events of the row are gone, or something else is there in their place.
local function beyond_row(id, seq)
  local length = redis.pcall('LLEN', key('events', id))
  if type(length) == 'table' then
    return -1
  end
  return length - (tonumber(seq) or 0)
end

-- Shows an order that this program cannot work on to an operator.
local function show(id)
  redis.call('HSET', key('order', id), 'attention', 'unreadable')
  redis.call('ZADD', prefix .. ':attention', 0, id)
end
