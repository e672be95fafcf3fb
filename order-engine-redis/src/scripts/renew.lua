-- Prolongs leases: ARGV[1] is how long, and each item is an id, an epoch and an owner.
local until_ms = text(now_ms + ARGV[1])
local replies = {}
for first = 2, #ARGV, 3 do
  local id, epoch, owner = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local row = read(id, 'epoch', 'owner', 'lane')
  local is_current = row[1] == epoch and row[2] == owner
  if is_current then
    redis.call('ZADD', key('due', row[3]), until_ms, id)
  end
  replies[#replies + 1] = is_current and 1 or 0
end
return replies
