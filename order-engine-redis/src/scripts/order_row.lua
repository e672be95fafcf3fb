-- The fields that an order is decoded from. `OrderRow` of rows.rs has the same ones in the same order.
local ORDER_FIELDS = { 'origin', 'request', 'state', 'seq', 'created_at', 'updated_at' }

-- Returns the fields of an order that was read with them, as a reply has them.
local function order_row(order)
  local row = {}
  for n, name in ipairs(ORDER_FIELDS) do
    row[n] = order[name]
  end
  return row
end
