-- Releases leases. One that is not current is left alone.

-- The number of arguments of a release.
local FIELDS = 5

local undecodable, touched = {}, {}
for first = 1, #ARGV, FIELDS do
  local id, epoch, owner, due_in_ms, reason = unpack(ARGV, first, first + FIELDS - 1)
  local _, current_epoch, current_owner, lane, turn, claims_without_progress =
    read_order(id, 'epoch', 'owner', 'lane', 'turn', 'claims_without_progress')
  if current_epoch == epoch and current_owner == owner then
    if reason == 'yielded' then
      claims_without_progress = text(math.max(0, claims_without_progress - 1))
    end
    redis.call('HSET', key('order', id), 'owner', '', 'claims_without_progress', claims_without_progress)
    schedule(id, lane, now_ms + due_in_ms, turn)
    if reason == 'undecodable' then
      undecodable[#undecodable + 1] = id
      touch(touched, id, '')
    end
  end
end
if #undecodable > 0 then
  write_items('release', touched, undecodable, flag_undecodable)
end
return {}
