-- The history of an order. The events of one write are one field of the order: `e` with the number of the first one. Its
-- text is the number of the last one, a space, the version of the events, a space, and the events as JSON. The next
-- write has the number after that. A script never looks into the JSON.
local function events_field(first_seq)
  return 'e' .. text(first_seq)
end

-- Returns whether the history has the last write of an order. It is missing only if something other than a write of the
-- order took it away.
local function has_last_write(id, first_seq)
  return redis.call('HEXISTS', key('order', id), 'e' .. first_seq) == 1
end

-- Returns the number of the last event of a write, or nil if it is damaged.
local function last_of(events)
  return tonumber(string.match(events, '^(%d+) '))
end

-- Returns the writes of an order one after the other, from the one that begins with a number on: the numbers of its first
-- event and of its last one, and its events.
local function writes_from(id, first_seq)
  return function()
    local events = first_seq and redis.call('HGET', key('order', id), events_field(first_seq))
    local first, last = first_seq, events and last_of(events)
    if not events then
      return nil
    end
    first_seq = last and last >= first and last + 1
    return first, last or first, events
  end
end

-- How far back the beginning of a write is looked for before all writes are gone through. Pages begin with a write, unless
-- a limit cut the page before.
local BACK = 32

-- Returns the number of the first event of the write that has an event, or that of the event itself if none has it.
local function first_of_write(id, seq)
  local fields, least = {}, math.max(seq - BACK + 1, 1)
  for n = seq, least, -1 do
    fields[#fields + 1] = events_field(n)
  end
  if redis.call('HEXISTS', key('order', id), fields[1]) == 1 then
    return seq
  end
  for n, events in ipairs(redis.call('HMGET', key('order', id), unpack(fields))) do
    if events then
      return seq - n + 1
    end
  end
  if least > 1 then
    for first, last in writes_from(id, 1) do
      if last >= seq then
        return first
      end
    end
  end
  return seq
end

-- Returns the writes that have the events after one up to another: for each the number of its first event, and its events.
-- `Written` of rows.rs has the same.
local function read_history(id, after_seq, last_seq)
  local writes = {}
  if after_seq >= last_seq then
    return writes
  end
  for first, last, events in writes_from(id, first_of_write(id, after_seq + 1)) do
    writes[#writes + 1] = { text(first), events }
    if last >= last_seq then
      break
    end
  end
  return writes
end
