-- Makes an order due at once if it waits for a time. An order that is leased stays as it is: its due time is
-- the end of its lease.
local id = ARGV[1]
local _, owner, lane = read_order(id, 'owner', 'lane')
if owner == '' and lane ~= '' then
  redis.call('ZADD', key('due', lane), 'XX', 'LT', text(now_ms), id)
end
return {}
