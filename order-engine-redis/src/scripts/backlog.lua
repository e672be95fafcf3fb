-- Counts what waits. Ages are counted from the score of the first entry of a set.
local function first_score(set)
  return redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] or false
end

local function lane(name)
  local due = key('due', name)
  return { redis.call('ZCARD', due), redis.call('ZCOUNT', due, '-inf', text(now_ms)), first_score(due) }
end

local sinks = {}
for _, sink in ipairs(redis.call('SMEMBERS', prefix .. ':sinks')) do
  local owed = key('owed', sink)
  sinks[#sinks + 1] = { sink, redis.call('ZCARD', owed), first_score(owed) }
end
return { text(now_ms), lane('execute'), lane('observe'), redis.call('ZCARD', prefix .. ':attention'), sinks }
