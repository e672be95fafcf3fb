-- Leases due orders of a lane, those that became due first, first; or only the one order of `order_id`.
local request = arguments(1, { 'lane', 'owner', 'duration_ms', 'limit', 'order_id' })
local due = key('due', request.lane)
local limit = tonumber(request.limit)
-- Lua counts to this number without an error.
local MAX_EPOCH = 2 ^ 53

local function due_ids()
  if limit == 0 then
    return {}
  end
  if request.order_id == '' then
    return redis.call('ZRANGE', due, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)
  end
  local due_ms = redis.call('ZSCORE', due, request.order_id)
  return due_ms and tonumber(due_ms) <= now_ms and { request.order_id } or {}
end

-- Leases an order and returns its claim.
local function lease(id, order)
  local epoch, claims_without_progress = tonumber(order.epoch), tonumber(order.claims_without_progress)
  -- An order that cannot be leased waits as if it were leased, so that it does not hold up every claim.
  redis.call('ZADD', due, text(now_ms + request.duration_ms), id)
  if not epoch or not claims_without_progress or epoch >= MAX_EPOCH then
    return { id, false, false, false, 0 }
  end
  local next_epoch, next_claims = text(epoch + 1), text(claims_without_progress + 1)
  redis.call('HSET', key('order', id),
    'epoch', next_epoch, 'owner', request.owner, 'claims_without_progress', next_claims)
  return { id, next_epoch, next_claims, order_row(order), surplus_events(id, order.seq) < 0 and 0 or 1 }
end

local claims = {}
for _, id in ipairs(due_ids()) do
  local order, failure = read_order(id, 'epoch', 'claims_without_progress', 'lane', unpack(ORDER_FIELDS))
  if not failure and not order.seq then
    -- There is no such order.
    redis.call('ZREM', due, id)
  elseif order.lane and order.lane ~= request.lane then
    -- A torn write left the order in the lane of its past.
    redis.call('ZREM', due, id)
    if order.lane ~= '' then
      redis.call('ZADD', key('due', order.lane), 'NX', text(now_ms), id)
    end
  else
    claims[#claims + 1] = lease(id, order)
  end
end
return { text(now_us), first_score(due), claims }
