-- Prolongs leases. The first argument is by how long. One reply a lease: 1 if it is still current.
local duration_ms = ARGV[1]
local FIELDS = { 'id', 'epoch', 'owner' }

local until_ms = text(now_ms + duration_ms)
local replies = {}
for first = 2, #ARGV, #FIELDS do
  local lease = arguments(first, FIELDS)
  local order = read_order(lease.id, 'epoch', 'owner', 'lane')
  local is_current = order.epoch == lease.epoch and order.owner == lease.owner
  if is_current then
    redis.call('ZADD', key('due', order.lane), until_ms, lease.id)
  end
  replies[#replies + 1] = is_current and 1 or 0
end
return replies
