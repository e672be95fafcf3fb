-- Returns the writes that have a page of the feed, with their orders: those from a place on, or those after `member` at
-- this place. It looks at no more than `scan` writes. One that is not in the history of its order is passed by.
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
    local fields = redis.pcall('HMGET', key('order', id), 'head', 'summary', 'user')
    if fields.err then
      read[id] = { seq = math.huge, head = false }
    else
      read[id] = { seq = last_seq_of(fields[2]) or 0, user = fields[3], head = fields[1] }
    end
  end
  return read[id]
end

-- Returns the place of an order among those that are returned.
local function index_of(id, order)
  if not order.index then
    orders[#orders + 1] = { id, order.head }
    order.index = #orders
  end
  return order.index
end

-- Returns the events of a write, or false if they are missing although their order is beyond them.
local function read_events(id, first_seq)
  local events = redis.pcall('HGET', key('order', id), events_field(first_seq))
  return type(events) == 'string' and events
end

local found = redis.call('ZRANGE', FEED, from, '+inf', 'BYSCORE', 'LIMIT', passed(), scan, 'WITHSCORES')
local writes, events, seen = {}, 0, 0
for n = 1, #found, 2 do
  if events >= limit then
    break
  end
  seen = n + 1
  local id, first_seq, last_seq = feed_write(found[n])
  local order = id and read_once(id)
  if order and last_seq <= order.seq and (has_user == '0' or order.user == user) then
    writes[#writes + 1] =
      { index_of(id, order), found[n + 1], text(first_seq), text(last_seq), read_events(id, first_seq) }
    -- The first write may begin before the page.
    events = events + (#writes == 1 and 1 or last_seq - first_seq + 1)
  end
end
local is_last = seen == #found and #found < 2 * scan
local last = seen > 0 and { found[seen], found[seen - 1] }
return { redis.call('HGET', prefix .. ':intents', 'last'), is_last and 1 or 0, last, orders, writes }
