-- Adds an outbox entry of an order for every registered sink that has none, from the event after
-- `delivered_seq` on.
local registered_sinks = redis.call('SMEMBERS', SINKS)

local function add_outbox_entries(id, delivered_seq)
  local never_leased = delivered_seq .. ' 0 0 '
  for _, sink in ipairs(registered_sinks) do
    if redis.call('HSETNX', key('outbox', id), sink, never_leased) == 1 then
      redis.call('ZADD', key('outbox_due', sink), text(now_ms), id)
      redis.call('ZADD', key('outbox_pending', sink), text(now_ms), id)
    end
  end
end
