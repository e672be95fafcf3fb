-- Returns the writes that have a page of the history of an order. Events beyond the order's own number are not part of it.
local id, after, limit = unpack(ARGV)
local seq = last_seq_of(redis.call('HGET', key('order', id), 'summary'))
return seq and read_history(id, tonumber(after), math.min(after + limit, seq)) or {}
