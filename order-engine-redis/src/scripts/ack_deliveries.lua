-- Records what came of deliveries. An item has a `seq` if the sink took the events up to it, and otherwise
-- `retry_in_ms`. One reply an item: 1 if its lease is current.
local FIELDS = { 'sink', 'id', 'epoch', 'owner', 'seq', 'retry_in_ms' }

local function nack(item, entry)
  entry.failures, entry.owner = text(entry.failures + 1), ''
  write_outbox_entry(item.id, item.sink, entry)
  redis.call('ZADD', key('outbox_due', item.sink), text(now_ms + item.retry_in_ms), item.id)
end

local function ack(item, entry)
  local order_seq = tonumber(redis.call('HGET', key('order', item.id), 'seq')) or 0
  if tonumber(item.seq) >= order_seq then
    return delete_outbox_entry(item.id, item.sink)
  end
  entry.delivered_seq, entry.failures, entry.owner = text(math.max(entry.delivered_seq, item.seq)), '0', ''
  write_outbox_entry(item.id, item.sink, entry)
  redis.call('ZADD', key('outbox_due', item.sink), text(now_ms), item.id)
  redis.call('ZADD', key('outbox_pending', item.sink), text(now_ms), item.id)
end

local function record(item)
  local entry = read_outbox_entry(item.id, item.sink)
  if not entry or item.epoch ~= entry.epoch or item.owner ~= entry.owner then
    return 0
  end
  if item.seq == '' then
    nack(item, entry)
  else
    ack(item, entry)
  end
  return 1
end

local items, touched = {}, {}
for first = 1, #ARGV, #FIELDS do
  local item = arguments(first, FIELDS)
  local entry = read_outbox_entry(item.id, item.sink)
  items[#items + 1] = item
  touched[#touched + 1] = item.id
  touched[#touched + 1] = entry and entry.delivered_seq or '0'
end
local write = begin_write('ack_deliveries', touched)
local replies = {}
for n, item in ipairs(items) do
  replies[n] = record(item)
end
end_write(write)
return replies
