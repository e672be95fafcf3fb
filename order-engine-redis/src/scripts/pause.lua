-- Pauses an activity within a scope. What is paused already keeps its time.
local field, reason = unpack(ARGV)
local pauses = prefix .. ':pauses'
local paused = redis.call('HGET', pauses, field)
local since_ms = paused and string.match(paused, '^(%d+) ') or text(now_ms)
redis.call('HSET', pauses, field, since_ms .. ' ' .. reason)
return {}
