-- Returns when the first order of a lane is due, or false if the lane is empty.
local function first_due(lane)
  local usual, own = first_score(key('due', lane)), first_score(key('turn_due', lane))
  if usual and own then
    return tonumber(usual) < tonumber(own) and usual or own
  end
  return usual or own
end

-- Merges two lists of members with their scores, those with the lowest scores first. Calls a function with each
-- member and the number of its list until it has taken `limit`.
local function merge(one, two, limit, take)
  local first, second = 1, 1
  for _ = 1, limit do
    local is_first = one[first] and (not two[second] or tonumber(one[first + 1]) <= tonumber(two[second + 1]))
    if is_first then
      take(one[first], 1)
      first = first + 2
    elseif two[second] then
      take(two[second], 2)
      second = second + 2
    else
      return
    end
  end
end

-- Returns up to `limit` due members of a set with their scores, after some.
local function due_members(set, limit, after)
  return redis.call('ZRANGE', set, '-inf', text(now_ms), 'BYSCORE', 'LIMIT', after or 0, limit, 'WITHSCORES')
end
