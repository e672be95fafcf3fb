-- Outbox entries. An entry says that events of an order wait for delivery to a sink: the number of the last
-- event that was delivered, the epoch and the owner of the lease, and how many deliveries failed in a row.
local function write_outbox_entry(id, sink, entry)
  local fields = { entry.delivered_seq, entry.epoch, entry.failures, entry.owner }
  redis.call('HSET', key('outbox', id), sink, table.concat(fields, ' '))
end

-- Returns an entry, whose fields are texts, or nil if there is none.
local function read_outbox_entry(id, sink)
  local stored = redis.call('HGET', key('outbox', id), sink)
  if not stored then
    return nil
  end
  local delivered_seq, epoch, failures, owner = string.match(stored, '^(%d+) (%d+) (%d+) (%x*)$')
  return delivered_seq and { delivered_seq = delivered_seq, epoch = epoch, failures = failures, owner = owner }
end

local function delete_outbox_entry(id, sink)
  redis.call('HDEL', key('outbox', id), sink)
  redis.call('ZREM', key('outbox_due', sink), id)
  redis.call('ZREM', key('outbox_pending', sink), id)
end
