-- Counts the orders of both lanes, those that need attention, and the outbox entries of each sink. The score
-- of a set's first member says since when it waits.
local function lane(name)
  local due = key('due', name)
  return { redis.call('ZCARD', due), redis.call('ZCOUNT', due, '-inf', text(now_ms)), first_score(due) }
end

local sinks = {}
for _, sink in ipairs(redis.call('SMEMBERS', SINKS)) do
  local pending = key('outbox_pending', sink)
  sinks[#sinks + 1] = { sink, redis.call('ZCARD', pending), first_score(pending) }
end
return { text(now_ms), lane('execute'), lane('observe'), redis.call('ZCARD', ATTENTION), sinks }
