-- The intent log. The first command of a write notes which orders the write touches, and its last command
-- notes that the write is complete. A server that is killed in the middle of a write can leave the first
-- commands of the write in its file, and runs them when it loads the file for the second time. The note is
-- the first of them, so `repair.lua` finds every order that they touched.
local INTENTS = prefix .. ':intents'
-- The number of the complete write before this one, or false.
local last_write

-- Adds an order to those that a write touches, with the number of the last event before those that sinks may
-- miss if the write is torn, or '' if they miss none. Where the write reserves a nonce, there follow, each after a
-- space, the number of the last event that it writes, the nonce, the lowest number that may be free, and the account.
-- Where it deletes the order, there follow the numbers of the last events of the order's writes.
local function touch(touched, id, last_seq)
  touched[#touched + 1] = id
  touched[#touched + 1] = last_seq
end

-- Begins a write of orders that were added by `touch`, and returns its number.
local function begin_write(kind, touched)
  last_write = redis.call('HGET', INTENTS, 'last')
  local write = text(math.max(now_us, (tonumber(last_write) or 0) + 1))
  redis.call('HSET', INTENTS, write, kind .. '\n' .. table.concat(touched, '\n'))
  return write
end

-- Ends a complete write. The note of the complete write before it is not needed any more.
local function end_write(write)
  redis.call('HSET', INTENTS, 'last', write)
  if last_write then
    redis.call('HDEL', INTENTS, last_write)
  end
end

-- Calls a function on each item, all in one write, and another one at last. Returns the results of the items.
local function write_items(kind, touched, items, write_item, finish)
  local write = begin_write(kind, touched)
  local replies = {}
  for n, item in ipairs(items) do
    replies[n] = write_item(item, write)
  end
  if finish then
    finish(write)
  end
  end_write(write)
  return replies
end
