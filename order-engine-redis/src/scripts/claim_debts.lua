-- Leases due debts of a sink, each with the events that are owed first.
local sink, owner, duration_ms, limit, events_limit = unpack(ARGV, 1, 5)
local debts = key('debts', sink)
local deliveries = {}
for _, id in ipairs(redis.call('ZRANGE', debts, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)) do
  local delivered_seq, epoch, failures = debt_of(id, sink)
  local events = delivered_seq
    and redis.call('LRANGE', key('events', id), delivered_seq, text(delivered_seq + events_limit - 1)) or {}
  if #events == 0 then
    -- A debt without events is none.
    end_debt(id, sink)
  else
    epoch = text(epoch + 1)
    keep_debt(id, sink, delivered_seq, epoch, failures, owner)
    redis.call('ZADD', debts, text(now_ms + duration_ms), id)
    deliveries[#deliveries + 1] = { id, epoch, failures, delivered_seq, events }
  end
end
local first = redis.call('ZRANGE', debts, 0, 0, 'WITHSCORES')
return { text(clock[1] * 1000000 + clock[2]), first[2] or false, deliveries }
