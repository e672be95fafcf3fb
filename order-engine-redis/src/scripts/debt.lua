-- What a sink is owed of an order: the number of the last event that it has, the epoch of the lease, how
-- many deliveries failed in a row, and the owner. Nothing if it is owed nothing.
local function debt_of(id, sink)
  local debt = redis.call('HGET', key('debt', id), sink)
  if not debt then
    return nil
  end
  return string.match(debt, '^(%d+) (%d+) (%d+) (%x*)$')
end

local function keep_debt(id, sink, ...)
  redis.call('HSET', key('debt', id), sink, table.concat({ ... }, ' '))
end

local function end_debt(id, sink)
  redis.call('HDEL', key('debt', id), sink)
  redis.call('ZREM', key('debts', sink), id)
  redis.call('ZREM', key('owed', sink), id)
end
