-- What all scripts share. KEYS[1] is the prefix of every key. The scripts compute the rest of a key, which
-- Redis allows because the store refuses clusters.
local prefix = KEYS[1]
local ORDERS, ATTENTION, SINKS = prefix .. ':orders', prefix .. ':attention', prefix .. ':sinks'
local FEED = prefix .. ':feed'

local function key(kind, name)
  return prefix .. ':' .. kind .. ':' .. name
end

-- The server's clock, which stands still while a script runs: seconds and microseconds.
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)

-- Returns a whole number as text. Lua's own conversion gives large ones an exponent.
local function text(number)
  return string.format('%.0f', number)
end

-- Reads fields of an order: returns an error if the key holds something else, or nil and the fields, each
-- false if it is missing. A script reads all that an item needs before it writes anything, so that a damaged
-- item is refused whole.
local function read_order(id, ...)
  local fields = redis.pcall('HMGET', key('order', id), ...)
  if fields.err then
    return fields.err
  end
  return nil, unpack(fields)
end

-- Returns the score of a sorted set's first member, or false if the set is empty.
local function first_score(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  return first[2] or false
end
