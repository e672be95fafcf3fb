-- Counts the orders of both lanes, those that need attention, and the outbox entries of each sink. The score
-- of a set's first member says since when it waits.
local function lane(name)
  local orders, due_now = 0, 0
  for _, set in ipairs({ key('due', name), key('turn_due', name) }) do
    orders = orders + redis.call('ZCARD', set)
    due_now = due_now + redis.call('ZCOUNT', set, '-inf', text(now_ms))
  end
  return { orders, due_now, first_due(name) }
end

local sinks = {}
for _, sink in ipairs(redis.call('SMEMBERS', SINKS)) do
  local pending = key('outbox_pending', sink)
  sinks[#sinks + 1] = { sink, redis.call('ZCARD', pending), first_score(pending) }
end
return { text(now_ms), lane('execute'), lane('observe'), redis.call('ZCARD', ATTENTION), sinks }
