-- Makes an order due at once if it waits for a time. An order that is leased stays as it is: its due time is
-- the end of its lease.
local id = ARGV[1]
local order = read_order(id, 'owner', 'lane')
if order.owner == '' and order.lane ~= '' then
  redis.call('ZADD', key('due', order.lane), 'XX', 'LT', text(now_ms), id)
end
return {}
