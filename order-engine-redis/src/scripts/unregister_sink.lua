-- Ends the registration of a sink, and forgets some of its debts.
local sink, limit = ARGV[1], ARGV[2]
local ids = redis.call('ZRANGE', key('owed', sink), '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, limit)
local touched = {}
for _, id in ipairs(ids) do
  touched[#touched + 1] = id
  touched[#touched + 1] = debt_of(id, sink) or '0'
end
local run = begin('forget ' .. sink, touched)
redis.call('SREM', prefix .. ':sinks', sink)
for _, id in ipairs(ids) do
  end_debt(id, sink)
end
finish(run)
return #ids
