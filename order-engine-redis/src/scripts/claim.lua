-- Leases due orders of a lane: any, or those among the ids that follow.
local lane, owner, duration_ms, limit, scope = unpack(ARGV, 1, 5)
local due, limit = key('due', lane), tonumber(limit)

-- The due ones among the ids, those that became due first, first.
local function due_of_ids()
  local found, seen = {}, {}
  for n = 6, #ARGV do
    local id = ARGV[n]
    local score = not seen[id] and redis.call('ZSCORE', due, id)
    seen[id] = true
    if score and tonumber(score) <= now_ms then
      found[#found + 1] = { tonumber(score), id }
    end
  end
  table.sort(found, function(one, other)
    return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
  end)
  local ids = {}
  for n = 1, math.min(limit, #found) do
    ids[n] = found[n][2]
  end
  return ids
end

local function due_ids()
  if scope == 'ids' then
    return due_of_ids()
  end
  return redis.call('ZRANGE', due, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)
end

local claims = {}
for _, id in ipairs(limit > 0 and due_ids() or {}) do
  local row, failure = read(id, 'epoch', 'fruitless', 'origin', 'request', 'state', 'seq', 'created_at', 'updated_at', 'lane')
  local true_lane = row[9]
  if not failure and not row[6] then
    -- There is no such order, so nothing is due.
    redis.call('ZREM', due, id)
  elseif true_lane and true_lane ~= lane then
    redis.call('ZREM', due, id)
    if true_lane ~= '' then
      redis.call('ZADD', key('due', true_lane), 'NX', text(now_ms), id)
    end
  else
    local epoch, fruitless = tonumber(row[1]), tonumber(row[2])
    -- Whatever cannot be leased waits as if it were, or it would be in every claim's way.
    redis.call('ZADD', due, text(now_ms + duration_ms), id)
    if epoch and fruitless and epoch < 2 ^ 53 then
      redis.call('HSET', key('order', id), 'epoch', text(epoch + 1), 'owner', owner, 'fruitless', text(fruitless + 1))
      claims[#claims + 1] = {
        id, text(epoch + 1), text(fruitless + 1), { row[3], row[4], row[5], row[6], row[7], row[8] },
        beyond_row(id, row[6]) < 0 and 0 or 1,
      }
    else
      claims[#claims + 1] = { id, false, false, {}, 0 }
    end
  end
end
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
return { text(clock[1] * 1000000 + clock[2]), first[2] or false, claims }
