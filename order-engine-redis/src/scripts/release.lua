-- Releases leases. One that is not current is left alone.
local FIELDS = { 'id', 'epoch', 'owner', 'due_in_ms', 'reason' }

local undecodable, touched = {}, {}
for first = 1, #ARGV, #FIELDS do
  local release = arguments(first, FIELDS)
  local id = release.id
  local order = read_order(id, 'epoch', 'owner', 'lane', 'claims_without_progress')
  if order.epoch == release.epoch and order.owner == release.owner then
    local claims_without_progress = tonumber(order.claims_without_progress)
    if release.reason == 'yielded' then
      claims_without_progress = math.max(0, claims_without_progress - 1)
    end
    redis.call('HSET', key('order', id),
      'owner', '', 'claims_without_progress', text(claims_without_progress))
    redis.call('ZADD', key('due', order.lane), text(now_ms + release.due_in_ms), id)
    if release.reason == 'undecodable' then
      undecodable[#undecodable + 1] = id
      touched[#touched + 1] = id
      touched[#touched + 1] = ''
    end
  end
end
if #undecodable > 0 then
  local write = begin_write('release', touched)
  for _, id in ipairs(undecodable) do
    flag_undecodable(id)
  end
  end_write(write)
end
return {}
