-- Leases due debts of a sink, each with the events that are owed first.
local sink, owner, duration_ms, limit, events_limit = unpack(ARGV, 1, 5)
local debts = key('debts', sink)
local deliveries, paid, touched = {}, {}, {}

-- The events that are owed first, as far as the row knows of them.
local function owed_events(id, delivered_seq)
  local seq = tonumber(redis.call('HGET', key('order', id), 'seq'))
  if not seq or tonumber(delivered_seq) >= seq then
    return {}
  end
  return redis.call('LRANGE', key('events', id), delivered_seq, text(math.min(delivered_seq + events_limit, seq) - 1))
end

for _, id in ipairs(redis.call('ZRANGE', debts, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)) do
  local delivered_seq, epoch, failures = debt_of(id, sink)
  local events = delivered_seq and owed_events(id, delivered_seq) or {}
  if #events == 0 then
    -- A debt without events is none.
    paid[#paid + 1] = id
    touched[#touched + 1] = id
    touched[#touched + 1] = delivered_seq or '0'
  else
    epoch = text(epoch + 1)
    keep_debt(id, sink, delivered_seq, epoch, failures, owner)
    redis.call('ZADD', debts, text(now_ms + duration_ms), id)
    deliveries[#deliveries + 1] = { id, epoch, failures, delivered_seq, events }
  end
end
if #paid > 0 then
  local run = begin('claim_debts', touched)
  for _, id in ipairs(paid) do
    end_debt(id, sink)
  end
  finish(run)
end
local first = redis.call('ZRANGE', debts, 0, 0, 'WITHSCORES')
return { text(clock[1] * 1000000 + clock[2]), first[2] or false, deliveries }
