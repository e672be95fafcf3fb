-- Returns by how many events the history of an order is longer than `seq`. It is longer only if something
-- other than a write of the order added events. The result is negative if events are missing, or if the key
-- holds something else.
local function surplus_events(id, seq)
  local length = redis.pcall('LLEN', key('events', id))
  if type(length) == 'table' then
    return -1
  end
  return length - (tonumber(seq) or 0)
end
