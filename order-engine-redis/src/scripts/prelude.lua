-- What all scripts have. KEYS[1] is the prefix of every key; the rest of a key is computed here, which is
-- allowed because the store refuses a cluster.
local prefix = KEYS[1]

local function key(kind, name)
  return prefix .. ':' .. kind .. ':' .. name
end

-- The store's clock. It stands still while a script runs.
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A whole number as text; Lua alone would write large ones with an exponent.
local function text(number)
  return string.format('%.0f', number)
end

-- A row, or an empty one with the error if the key holds something else. Nothing is written before
-- everything that an item needs was read, so that a damaged item is refused whole.
local function read(id, ...)
  local row = redis.pcall('HMGET', key('order', id), ...)
  if row.err then
    return {}, row.err
  end
  return row, nil
end
