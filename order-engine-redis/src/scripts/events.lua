-- Returns a page of the history of an order. Events beyond the order's own number are not part of it.
local request = arguments(1, { 'id', 'after', 'limit' })
local seq = redis.call('HGET', key('order', request.id), 'seq')
if not seq or tonumber(request.after) >= tonumber(seq) then
  return {}
end
local last = math.min(request.after + request.limit, seq)
return redis.call('LRANGE', key('events', request.id), request.after, text(last - 1))
