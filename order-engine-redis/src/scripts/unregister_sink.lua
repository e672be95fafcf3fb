-- Unregisters a sink, deletes at most `limit` of its outbox entries, and returns how many it deleted.
local sink, limit = unpack(ARGV)
local ids = redis.call('ZRANGE', key('outbox_pending', sink), '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, limit)
local touched = {}
for _, id in ipairs(ids) do
  local entry = read_outbox_entry(id, sink)
  touch(touched, id, entry and entry.delivered_seq or '0')
end
local write = begin_write('unregister_sink ' .. sink, touched)
redis.call('SREM', SINKS, sink)
for _, id in ipairs(ids) do
  delete_outbox_entry(id, sink)
end
end_write(write)
return #ids
