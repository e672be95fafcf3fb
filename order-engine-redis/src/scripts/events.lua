-- A page of the history of an order, as far as its row knows of it.
local id, after, limit = unpack(ARGV, 1, 3)
local seq = redis.call('HGET', key('order', id), 'seq')
if not seq or tonumber(after) >= tonumber(seq) then
  return {}
end
return redis.call('LRANGE', key('events', id), after, text(math.min(after + limit, seq) - 1))
