-- Records what was delivered: each item is a sink, an id, an epoch, an owner, and either the number of the
-- last event delivered or the time after which the debt is due again.
local FIELDS = 6

local function settle(sink, id, epoch, owner, seq, due_in_ms)
  local delivered_seq, old_epoch, failures, old_owner = debt_of(id, sink)
  if not delivered_seq or epoch ~= old_epoch or owner ~= old_owner then
    return 0
  end
  if seq == '' then
    keep_debt(id, sink, delivered_seq, epoch, text(failures + 1), '')
    redis.call('ZADD', key('debts', sink), text(now_ms + due_in_ms), id)
  elseif tonumber(seq) >= (tonumber(redis.call('HGET', key('order', id), 'seq')) or 0) then
    end_debt(id, sink)
  else
    keep_debt(id, sink, text(math.max(delivered_seq, seq)), epoch, '0', '')
    redis.call('ZADD', key('debts', sink), text(now_ms), id)
    redis.call('ZADD', key('owed', sink), text(now_ms), id)
  end
  return 1
end

local touched = {}
for first = 1, #ARGV, FIELDS do
  local sink, id = ARGV[first], ARGV[first + 1]
  touched[#touched + 1] = id
  touched[#touched + 1] = debt_of(id, sink) or '0'
end
local run = begin('settle', touched)
local replies = {}
for first = 1, #ARGV, FIELDS do
  replies[#replies + 1] = settle(unpack(ARGV, first, first + FIELDS - 1))
end
finish(run)
return replies
