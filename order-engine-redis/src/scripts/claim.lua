-- Leases due orders of a lane in the order of their turns; or only the one of `order_id`, if it is due.
local lane, owner, duration_ms, limit, order_id = unpack(ARGV)
local due, turn_due, turns = key('due', lane), key('turn_due', lane), key('turn', lane)
limit = tonumber(limit)
-- The first number that Lua cannot count to without an error.
local MAX_EPOCH = 2 ^ 53

-- Returns due orders whose turn has come, of those whose turn is another time, each with its turn. It passes by
-- orders that wait although their head start lets their turn come, of which there are few.
local function due_turns()
  local found, seen = {}, 0
  repeat
    local page = due_members(turns, limit, seen)
    local ids = {}
    for n = 1, #page, 2 do
      ids[#ids + 1] = page[n]
    end
    local due_times = #ids > 0 and redis.call('ZMSCORE', turn_due, unpack(ids)) or {}
    for n, id in ipairs(ids) do
      -- An order that lacks its due time is leased as well, which gives it one.
      if not due_times[n] or tonumber(due_times[n]) <= now_ms then
        found[#found + 1] = id
        found[#found + 1] = page[2 * n]
      end
    end
    seen = seen + #ids
  until #found >= 2 * limit or #ids < limit
  return found
end

-- Returns the orders to lease: those whose turn has come, the earliest turn first, and then the others, those
-- that became due first, first. Each comes with whether its turn is another time than it is due.
local function due_orders()
  local orders, taken = {}, {}
  merge(due_members(due, limit), due_turns(), limit, function(id, list)
    orders[#orders + 1] = { id, list == 2 }
    taken[id] = true
  end)
  if #orders < limit then
    local others = due_members(turn_due, limit)
    for n = 1, #others, 2 do
      if #orders < limit and not taken[others[n]] then
        orders[#orders + 1] = { others[n], true }
      end
    end
  end
  return orders
end

local function due_order()
  for _, set in ipairs({ due, turn_due }) do
    local due_ms = redis.call('ZSCORE', set, order_id)
    if due_ms then
      return tonumber(due_ms) <= now_ms and { { order_id, set == turn_due } } or {}
    end
  end
  return {}
end

-- Leases an order and returns its claim.
local function lease(id, has_turn, row, first_seq, old_lease)
  local epoch, _, claims_without_progress, turn = parse_lease(old_lease)
  epoch, claims_without_progress = tonumber(epoch), tonumber(claims_without_progress)
  -- An order that cannot be leased waits as if it were leased, so that it does not hold up every claim. It stays in
  -- the sets in which it was found.
  schedule(id, lane, now_ms + duration_ms, has_turn and (turn or ''), true)
  if not epoch or epoch >= MAX_EPOCH then
    return { id, false, false, false, 0 }
  end
  epoch, claims_without_progress = text(epoch + 1), text(claims_without_progress + 1)
  redis.call('HSET', key('order', id), 'lease', lease_text(epoch, owner, claims_without_progress, turn))
  return { id, epoch, claims_without_progress, row, has_last_write(id, first_seq) and 1 or 0 }
end

local orders = {}
if limit > 0 then
  orders = order_id == '' and due_orders() or order_id ~= '' and due_order()
end
local claims = {}
for _, order in ipairs(orders) do
  local id, has_turn = unpack(order)
  local failure, row, summary, old_lease = read_order_row(id, 'summary', 'lease')
  local first_seq, _, _, true_lane = parse_summary(summary)
  if not failure and not summary then
    -- There is no such order.
    unschedule(id, lane)
  elseif true_lane and true_lane ~= lane then
    -- A torn write left the order in the lane of its past.
    unschedule(id, lane)
    if true_lane ~= '-' then
      local _, _, _, turn = parse_lease(old_lease)
      restore(id, true_lane, turn)
    end
  else
    claims[#claims + 1] = lease(id, has_turn, row, first_seq or '0', old_lease)
  end
end
write_changes()
return { text(now_us), first_due(lane), claims }
