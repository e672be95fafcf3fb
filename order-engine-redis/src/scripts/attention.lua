-- Lists an order that this program cannot work on among those that need an operator's attention.
local function flag_undecodable(id, summary)
  local before, after = string.match(summary or '', '^(%S+ %S+ %S+ %S+) %S+ (%S+)$')
  if before then
    redis.call('HSET', key('order', id), 'summary', before .. ' unreadable ' .. after)
  end
  redis.call('ZADD', ATTENTION, 0, id)
end
