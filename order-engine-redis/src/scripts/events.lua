-- Returns a page of the history of an order. Events beyond the order's own number are not part of it.
local id, after, limit = unpack(ARGV)
local seq = redis.call('HGET', key('order', id), 'seq')
if not seq or tonumber(after) >= tonumber(seq) then
  return {}
end
return redis.call('LRANGE', key('events', id), after, text(math.min(after + limit, seq) - 1))
