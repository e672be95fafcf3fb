-- How many fields an order is decoded from.
local ROW_FIELDS = 3

-- Reads an order, and further fields of it: returns an error if the key holds something else, or nil, the row
-- as replies have it, and the further fields. `OrderRow` of rows.rs has the fields of the row in this order.
local function read_order_row(id, ...)
  local fields = redis.pcall('HMGET', key('order', id), 'head', 'summary', 'state', ...)
  if fields.err then
    return fields.err
  end
  return nil, { unpack(fields, 1, ROW_FIELDS) }, unpack(fields, ROW_FIELDS + 1)
end
