-- Makes an order due at once if it waits for a time. An order that is leased stays as it is: its due time is
-- the end of its lease.
local id = ARGV[1]
local _, summary, lease = read_order(id, 'summary', 'lease')
local _, _, _, lane = parse_summary(summary)
local _, owner, _, turn = parse_lease(lease)
if owner == '' and lane and lane ~= '-' then
  local due_ms = redis.call('ZSCORE', key(turn and 'turn_due' or 'due', lane), id)
  if due_ms and tonumber(due_ms) > now_ms then
    schedule(id, lane, now_ms, turn)
  end
end
write_changes()
return {}
