-- Records what came of deliveries: one reply a delivery, 1 if its lease is current. A delivery has a `seq` if
-- the sink took the events up to it, and otherwise `retry_in_ms`.

-- The number of arguments of a delivery.
local FIELDS = 6

local function nack(id, sink, entry, retry_in_ms)
  entry.failures, entry.owner = text(entry.failures + 1), ''
  write_outbox_entry(id, sink, entry)
  redis.call('ZADD', key('outbox_due', sink), text(now_ms + retry_in_ms), id)
end

local function ack(id, sink, entry, seq)
  if tonumber(seq) >= (last_seq_of(redis.call('HGET', key('order', id), 'summary')) or 0) then
    delete_outbox_entry(id, sink)
  else
    entry.delivered_seq, entry.failures, entry.owner = text(math.max(entry.delivered_seq, seq)), '0', ''
    write_outbox_entry(id, sink, entry)
    redis.call('ZADD', key('outbox_due', sink), text(now_ms), id)
    redis.call('ZADD', key('outbox_pending', sink), text(now_ms), id)
  end
end

local function record(sink, id, epoch, owner, seq, retry_in_ms)
  local entry = read_outbox_entry(id, sink)
  if not entry or epoch ~= entry.epoch or owner ~= entry.owner then
    return 0
  end
  if seq == '' then
    nack(id, sink, entry, retry_in_ms)
  else
    ack(id, sink, entry, seq)
  end
  return 1
end

local firsts, touched = {}, {}
for first = 1, #ARGV, FIELDS do
  local sink, id = ARGV[first], ARGV[first + 1]
  local entry = read_outbox_entry(id, sink)
  firsts[#firsts + 1] = first
  touch(touched, id, entry and entry.delivered_seq or '0')
end
return write_items('ack_deliveries', touched, firsts, function(first)
  return record(unpack(ARGV, first, first + FIELDS - 1))
end)
