-- Leases due orders of a lane, those that became due first, first; or only the one of `order_id`, if it is due.
local lane, owner, duration_ms, limit, order_id = unpack(ARGV)
local due = key('due', lane)
limit = tonumber(limit)
-- The first number that Lua cannot count to without an error.
local MAX_EPOCH = 2 ^ 53

local function due_ids()
  if limit == 0 then
    return {}
  end
  if order_id == '' then
    return redis.call('ZRANGE', due, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)
  end
  local due_ms = redis.call('ZSCORE', due, order_id)
  return due_ms and tonumber(due_ms) <= now_ms and { order_id } or {}
end

-- Leases an order and returns its claim.
local function lease(id, row, seq, old_epoch, old_claims_without_progress)
  local epoch, claims_without_progress = tonumber(old_epoch), tonumber(old_claims_without_progress)
  -- An order that cannot be leased waits as if it were leased, so that it does not hold up every claim.
  redis.call('ZADD', due, text(now_ms + duration_ms), id)
  if not epoch or not claims_without_progress or epoch >= MAX_EPOCH then
    return { id, false, false, false, 0 }
  end
  epoch, claims_without_progress = text(epoch + 1), text(claims_without_progress + 1)
  redis.call('HSET', key('order', id),
    'epoch', epoch, 'owner', owner, 'claims_without_progress', claims_without_progress)
  return { id, epoch, claims_without_progress, row, surplus_events(id, seq) < 0 and 0 or 1 }
end

local claims = {}
for _, id in ipairs(due_ids()) do
  local failure, row, seq, epoch, claims_without_progress, true_lane =
    read_order_row(id, 'seq', 'epoch', 'claims_without_progress', 'lane')
  if not failure and not seq then
    -- There is no such order.
    redis.call('ZREM', due, id)
  elseif true_lane and true_lane ~= lane then
    -- A torn write left the order in the lane of its past.
    redis.call('ZREM', due, id)
    if true_lane ~= '' then
      redis.call('ZADD', key('due', true_lane), 'NX', text(now_ms), id)
    end
  else
    claims[#claims + 1] = lease(id, row, seq, epoch, claims_without_progress)
  end
end
return { text(now_us), first_score(due), claims }
