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

-- Returns the parts of the field `summary`, which every write of events writes anew: the number of the first event of
-- the last write and of its last one, the status, the lane, the attention, and the time of the last event. They are
-- texts; a lane or an attention that there is not is '-'. Returns nil if the field is missing or damaged.
local function parse_summary(summary)
  return string.match(summary or '', '^(%d+) (%d+) (%S+) (%S+) (%S+) (%-?%d+)$')
end

-- Returns the number of the last event, or nil.
local function last_seq_of(summary)
  return tonumber((string.match(summary or '', '^%d+ (%d+) ')))
end

-- Returns the parts of the field `lease`, which every write of the order's lease or of events writes anew: the epoch, the
-- owner or '', how many claims in a row made no progress, and the turn, or false if it comes when the order is due. They
-- are texts. Returns nil if the field is missing or damaged.
local function parse_lease(lease)
  local epoch, owner, claims_without_progress, turn = string.match(lease or '', '^(%d+) (%x*) (%d+) ?(.*)$')
  return epoch, owner, claims_without_progress, turn ~= '' and turn
end

local function lease_text(epoch, owner, claims_without_progress, turn)
  local lease = epoch .. ' ' .. owner .. ' ' .. claims_without_progress
  return turn and lease .. ' ' .. turn or lease
end

-- Returns the score of a sorted set's first member, or false if the set is empty.
local function first_score(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  return first[2] or false
end
