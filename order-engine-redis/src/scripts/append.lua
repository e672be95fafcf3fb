-- Records what happened to orders. Each item is FIELDS arguments and its events, and gets one reply.
local FIELDS = 14
local PAGE = 64

-- Adds events to a history, a bounded number at a time.
local function push(id, first, last)
  for page = first, last, PAGE do
    redis.call('RPUSH', key('events', id), unpack(ARGV, page, math.min(page + PAGE - 1, last)))
  end
end

local function append(first_event, id, epoch, owner, revokes, expected_seq, due_in_ms, not_after_ms, seq, status, lane, attention, updated_at, state, events)
  local row, failure = read(id, 'seq', 'epoch', 'owner', 'status', 'lane', 'attention', 'fruitless')
  if failure then
    return { 'refused', failure }
  end
  local old_seq, old_epoch, old_owner, old_status, old_lane, old_attention, fruitless = unpack(row, 1, 7)
  if not old_seq then
    return { 'unknown' }
  end
  local is_fenced = epoch ~= ''
  if is_fenced and (epoch ~= old_epoch or owner ~= old_owner) then
    return { 'stale-fence' }
  end
  if expected_seq ~= old_seq then
    return { 'stale-revision', old_seq }
  end
  if not_after_ms ~= '' and now_ms > tonumber(not_after_ms) then
    return { 'too-late' }
  end
  local beyond = beyond_row(id, old_seq)
  if beyond < 0 then
    show(id)
    return { 'refused', 'the stored history does not lead to the stored order' }
  end
  if beyond > 0 then
    redis.call('LTRIM', key('events', id), 0, text(old_seq - 1))
  end
  push(id, first_event, first_event + events - 1)

  local due_ms, new_owner, new_epoch = nil, old_owner, old_epoch
  if revokes == '1' and old_owner ~= '' then
    new_epoch, new_owner, due_ms = text(tonumber(old_epoch) + 1), '', now_ms
  end
  if due_in_ms ~= '' then
    new_owner, due_ms = '', now_ms + due_in_ms
  end
  if lane == '' then
    new_owner = ''
  end

  redis.call('HSET', key('order', id),
    'seq', seq, 'status', status, 'lane', lane, 'attention', attention, 'updated_at', updated_at, 'state', state,
    'epoch', new_epoch, 'owner', new_owner, 'fruitless', is_fenced and '0' or fruitless)
  if lane ~= old_lane and old_lane ~= '' then
    -- A due time moves with the order from lane to lane.
    due_ms = due_ms or tonumber(redis.call('ZSCORE', key('due', old_lane), id))
    redis.call('ZREM', key('due', old_lane), id)
  end
  if lane ~= '' and due_ms then
    redis.call('ZADD', key('due', lane), text(due_ms), id)
  end
  if status ~= old_status then
    redis.call('ZREM', key('status', old_status), id)
    redis.call('ZADD', key('status', status), 0, id)
  end
  if attention ~= old_attention then
    if attention == '' then
      redis.call('ZREM', prefix .. ':attention', id)
    else
      redis.call('ZADD', prefix .. ':attention', 0, id)
    end
  end
  owe(id, expected_seq)
  return { 'written' }
end

local firsts, touched, first = {}, {}, 1
while first <= #ARGV do
  firsts[#firsts + 1] = first
  -- The id, and the revision that is expected.
  touched[#touched + 1] = ARGV[first]
  touched[#touched + 1] = ARGV[first + 4]
  first = first + FIELDS + ARGV[first + FIELDS - 1]
end

local run = begin('append', touched)
local replies = {}
for n, first in ipairs(firsts) do
  replies[n] = append(first + FIELDS, unpack(ARGV, first, first + FIELDS - 1))
end
finish(run)
return replies
