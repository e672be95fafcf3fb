-- Appends events to orders. An item has FIELDS and then its events. One reply an item.
local FIELDS = {
  'id', 'epoch', 'owner', 'revoke', 'expected_seq', 'due_in_ms', 'not_after_ms', 'seq', 'status', 'lane', 'attention',
  'updated_at', 'state', 'event_count',
}
-- The most values of one call of unpack, whose number Lua limits.
local PAGE = 64

-- Adds the arguments from one position to another to the history of an order.
local function push_events(id, first, last)
  for page = first, last, PAGE do
    redis.call('RPUSH', key('events', id), unpack(ARGV, page, math.min(page + PAGE - 1, last)))
  end
end

-- Returns a refusal of the item, or nothing if the order is as the item expects it.
local function refusal(item, order)
  if not order.seq then
    return { 'not-found' }
  end
  if item.epoch ~= '' and (item.epoch ~= order.epoch or item.owner ~= order.owner) then
    return { 'stale-fence' }
  end
  if item.expected_seq ~= order.seq then
    return { 'stale-revision', order.seq }
  end
  if item.not_after_ms ~= '' and now_ms > tonumber(item.not_after_ms) then
    return { 'too-late' }
  end
  return nil
end

-- Returns the epoch and the owner that the order has after the write, and when it is due if that changes.
local function next_lease(item, order)
  local epoch, owner, due_ms = order.epoch, order.owner, nil
  if item.revoke == '1' and owner ~= '' then
    epoch, owner, due_ms = text(tonumber(epoch) + 1), '', now_ms
  end
  if item.due_in_ms ~= '' then
    owner, due_ms = '', now_ms + item.due_in_ms
  end
  if item.lane == '' then
    owner = ''
  end
  return epoch, owner, due_ms
end

-- Moves the order from the indexes of its old state to those of its new one.
local function move(id, item, order, due_ms)
  if item.lane ~= order.lane and order.lane ~= '' then
    -- The order keeps its due time in its new lane.
    due_ms = due_ms or tonumber(redis.call('ZSCORE', key('due', order.lane), id))
    redis.call('ZREM', key('due', order.lane), id)
  end
  if item.lane ~= '' and due_ms then
    redis.call('ZADD', key('due', item.lane), text(due_ms), id)
  end
  if item.status ~= order.status then
    redis.call('ZREM', key('status', order.status), id)
    redis.call('ZADD', key('status', item.status), 0, id)
  end
  if item.attention ~= order.attention then
    if item.attention == '' then
      redis.call('ZREM', ATTENTION, id)
    else
      redis.call('ZADD', ATTENTION, 0, id)
    end
  end
end

local function append(item)
  local id = item.id
  local order, failure =
    read_order(id, 'seq', 'epoch', 'owner', 'status', 'lane', 'attention', 'claims_without_progress')
  if failure then
    return { 'rejected', failure }
  end
  local refused = refusal(item, order)
  if refused then
    return refused
  end
  local surplus = surplus_events(id, order.seq)
  if surplus < 0 then
    flag_undecodable(id)
    return { 'rejected', 'the stored history does not lead to the stored order' }
  end
  if surplus > 0 then
    redis.call('LTRIM', key('events', id), 0, text(order.seq - 1))
  end
  push_events(id, item.first_event, item.first_event + item.event_count - 1)
  local epoch, owner, due_ms = next_lease(item, order)
  -- Only a worker's write is progress, and only a worker writes under a fence.
  local claims_without_progress = item.epoch ~= '' and '0' or order.claims_without_progress
  redis.call('HSET', key('order', id),
    'seq', item.seq, 'status', item.status, 'lane', item.lane, 'attention', item.attention,
    'updated_at', item.updated_at, 'state', item.state, 'epoch', epoch, 'owner', owner,
    'claims_without_progress', claims_without_progress)
  move(id, item, order, due_ms)
  add_outbox_entries(id, item.expected_seq)
  return { 'written' }
end

local items, touched, first = {}, {}, 1
while first <= #ARGV do
  local item = arguments(first, FIELDS)
  item.first_event = first + #FIELDS
  items[#items + 1] = item
  touched[#touched + 1] = item.id
  touched[#touched + 1] = item.expected_seq
  first = item.first_event + item.event_count
end

local write = begin_write('append', touched)
local replies = {}
for n, item in ipairs(items) do
  replies[n] = append(item)
end
end_write(write)
return replies
