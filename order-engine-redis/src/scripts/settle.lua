-- Records what was delivered: each item is a sink, an id, an epoch, an owner, and either the number of the
-- last event delivered or the time after which the debt is due again.
local replies = {}
for first = 1, #ARGV, 6 do
  local sink, id, epoch, owner, seq, due_in_ms = unpack(ARGV, first, first + 5)
  local delivered_seq, old_epoch, failures, old_owner = debt_of(id, sink)
  local is_current = delivered_seq ~= nil and epoch == old_epoch and owner == old_owner
  if is_current and seq == '' then
    keep_debt(id, sink, delivered_seq, epoch, text(failures + 1), '')
    redis.call('ZADD', key('debts', sink), text(now_ms + due_in_ms), id)
  elseif is_current and tonumber(seq) >= redis.call('LLEN', key('events', id)) then
    end_debt(id, sink)
  elseif is_current then
    keep_debt(id, sink, text(math.max(delivered_seq, seq)), epoch, '0', '')
    redis.call('ZADD', key('debts', sink), text(now_ms), id)
    redis.call('ZADD', key('owed', sink), text(now_ms), id)
  end
  replies[#replies + 1] = is_current and 1 or 0
end
return replies
