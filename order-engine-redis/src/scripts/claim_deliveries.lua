-- Leases due outbox entries of a sink, those that became due first, first, each with its order and first events.
local sink, owner, duration_ms, limit, events_limit = unpack(ARGV)
local due = key('outbox_due', sink)

-- Returns the writes with the first events that wait for delivery, what never changes of the order, and the number of
-- the last of these events. Events beyond the order's own number are not part of it.
local function pending_events(id, delivered_seq)
  local head, summary = unpack(redis.call('HMGET', key('order', id), 'head', 'summary'))
  local seq = last_seq_of(summary)
  if not seq then
    return {}
  end
  local last = math.min(delivered_seq + events_limit, seq)
  return read_history(id, tonumber(delivered_seq), last), head, text(last)
end

local deliveries, empty, touched = {}, {}, {}
for _, id in ipairs(redis.call('ZRANGE', due, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)) do
  local entry = read_outbox_entry(id, sink)
  local events, head, last_seq = {}, nil, nil
  if entry then
    events, head, last_seq = pending_events(id, entry.delivered_seq)
  end
  if #events == 0 then
    empty[#empty + 1] = id
    touch(touched, id, entry and entry.delivered_seq or '0')
  else
    entry.epoch, entry.owner = text(entry.epoch + 1), owner
    write_outbox_entry(id, sink, entry)
    redis.call('ZADD', due, text(now_ms + duration_ms), id)
    deliveries[#deliveries + 1] = { id, entry.epoch, entry.failures, entry.delivered_seq, head, last_seq, events }
  end
end
if #empty > 0 then
  write_items('claim_deliveries', touched, empty, function(id)
    delete_outbox_entry(id, sink)
  end)
end
return { text(now_us), first_score(due), deliveries }
