-- Releases leases. One that is not current is left alone.

-- The number of arguments of a release.
local FIELDS = 5

local undecodable, touched = {}, {}
for first = 1, #ARGV, FIELDS do
  local id, epoch, owner, due_in_ms, reason = unpack(ARGV, first, first + FIELDS - 1)
  local _, summary, lease = read_order(id, 'summary', 'lease')
  local current_epoch, current_owner, claims_without_progress, turn = parse_lease(lease)
  if current_epoch == epoch and current_owner == owner then
    if reason == 'yielded' then
      claims_without_progress = text(math.max(0, claims_without_progress - 1))
    end
    redis.call('HSET', key('order', id), 'lease', lease_text(epoch, '', claims_without_progress, turn))
    local _, _, _, lane = parse_summary(summary)
    if lane and lane ~= '-' then
      schedule(id, lane, now_ms + due_in_ms, turn)
    end
    if reason == 'undecodable' then
      undecodable[#undecodable + 1] = { id, summary }
      touch(touched, id, '')
    end
  end
end
write_changes()
if #undecodable > 0 then
  write_items('release', touched, undecodable, function(order)
    flag_undecodable(unpack(order))
  end)
end
return {}
