-- Unregisters a sink, deletes at most `limit` of its outbox entries, and returns how many it deleted.
local request = arguments(1, { 'sink', 'limit' })
local sink = request.sink
local ids = redis.call('ZRANGE', key('outbox_pending', sink), '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, request.limit)
local touched = {}
for _, id in ipairs(ids) do
  local entry = read_outbox_entry(id, sink)
  touched[#touched + 1] = id
  touched[#touched + 1] = entry and entry.delivered_seq or '0'
end
local write = begin_write('unregister_sink ' .. sink, touched)
redis.call('SREM', SINKS, sink)
for _, id in ipairs(ids) do
  delete_outbox_entry(id, sink)
end
end_write(write)
return #ids
