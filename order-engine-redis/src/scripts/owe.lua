-- Makes every registered sink a creditor of an order, from the event after this number on.
local sinks = redis.call('SMEMBERS', prefix .. ':sinks')

local function owe(id, delivered_seq)
  for _, sink in ipairs(sinks) do
    -- What the sink has, the epoch of the lease, how many deliveries failed in a row, and the owner.
    if redis.call('HSETNX', key('debt', id), sink, delivered_seq .. ' 0 0 ') == 1 then
      redis.call('ZADD', key('debts', sink), text(now_ms), id)
      redis.call('ZADD', key('owed', sink), text(now_ms), id)
    end
  end
end
