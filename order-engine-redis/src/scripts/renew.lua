-- Prolongs leases: one reply a lease, 1 if it is still current. The first argument is by how long.
local duration_ms = ARGV[1]
-- The number of arguments of a lease.
local FIELDS = 3

local replies = {}
for first = 2, #ARGV, FIELDS do
  local id, epoch, owner = unpack(ARGV, first, first + FIELDS - 1)
  local _, summary, lease = read_order(id, 'summary', 'lease')
  local current_epoch, current_owner, _, turn = parse_lease(lease)
  local _, _, _, lane = parse_summary(summary)
  local is_current = lane and current_epoch == epoch and current_owner == owner
  if is_current then
    schedule(id, lane, now_ms + duration_ms, turn, true)
  end
  replies[#replies + 1] = is_current and 1 or 0
end
write_changes()
return replies
