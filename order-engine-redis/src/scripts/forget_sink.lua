-- Ends the registration of a sink, and forgets some of its debts.
local sink, limit = ARGV[1], ARGV[2]
redis.call('SREM', prefix .. ':sinks', sink)
local ids = redis.call('ZRANGE', key('owed', sink), '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  end_debt(id, sink)
end
return #ids
