-- Returns a page of the feed with the orders of its events: those from a place on, or those after `member` at this
-- place. It looks at no more than `scan` events. One that is not in the history of its order is passed by.
local from, member, has_user, user, limit, scan = unpack(ARGV)
limit, scan = tonumber(limit), tonumber(scan)

-- Returns whether a text comes after another by its bytes. Lua itself compares by the server's locale.
local function is_after(one, other)
  for n = 1, math.min(#one, #other) do
    local byte, other_byte = string.byte(one, n), string.byte(other, n)
    if byte ~= other_byte then
      return byte > other_byte
    end
  end
  return #one > #other
end

-- Returns how many members at the place itself come before the page.
local function passed()
  local count = 0
  while member ~= '' do
    local page = redis.call('ZRANGE', FEED, from, from, 'BYSCORE', 'LIMIT', count, scan)
    for n, found in ipairs(page) do
      if is_after(found, member) then
        return count + n - 1
      end
    end
    count = count + #page
    if #page < scan then
      break
    end
  end
  return count
end

-- The orders that were read: each its place among those that are returned, its number, and its user.
local orders, read = {}, {}
local function read_once(id)
  if not read[id] then
    local fields = redis.pcall('HMGET', key('order', id), 'origin', 'request', 'created_at', 'seq', 'user')
    if fields.err then
      read[id] = { seq = math.huge, row = false }
    else
      read[id] = { seq = tonumber(fields[4]) or 0, user = fields[5], row = { unpack(fields, 1, 3) } }
    end
  end
  return read[id]
end

-- Returns the place of an order among those that are returned.
local function index_of(id, order)
  if not order.index then
    orders[#orders + 1] = { id, order.row }
    order.index = #orders
  end
  return order.index
end

-- Returns an event, or false if it is missing although its order is beyond it.
local function read_event(id, seq)
  local event = redis.pcall('LINDEX', key('events', id), text(seq - 1))
  return type(event) == 'string' and event
end

local found = redis.call('ZRANGE', FEED, from, '+inf', 'BYSCORE', 'LIMIT', passed(), scan, 'WITHSCORES')
local items, seen = {}, 0
for n = 1, #found, 2 do
  if #items == limit then
    break
  end
  seen = n + 1
  local id, seq = feed_event(found[n])
  local order = id and read_once(id)
  if order and seq <= order.seq and (has_user == '0' or order.user == user) then
    items[#items + 1] = { index_of(id, order), found[n + 1], text(seq), read_event(id, seq) }
  end
end
local is_last = seen == #found and #found < 2 * scan
local last = seen > 0 and { found[seen], found[seen - 1] }
return { redis.call('HGET', prefix .. ':intents', 'last'), is_last and 1 or 0, last, orders, items }
