-- The changes of sorted sets that a script makes: each set is changed by one command, whatever number of orders the call
-- is about. The rows are written before.
local changes, changed_sets = {}, {}
-- The most values of one call of unpack, whose number Lua limits.
local CHANGES_PAGE = 128

-- Gives a member a score; false takes it out.
local function set_score(set, member, score)
  local scores = changes[set]
  if not scores then
    scores = {}
    changes[set] = scores
    changed_sets[#changed_sets + 1] = set
  end
  scores[member] = score
end

-- Returns the score of a member in a set, or nil.
local function score_of(set, member)
  local score = changes[set] and changes[set][member]
  if score == nil then
    score = redis.call('ZSCORE', set, member)
  end
  return tonumber(score or nil)
end

local function call_paged(command, set, values)
  for first = 1, #values, CHANGES_PAGE do
    redis.call(command, set, unpack(values, first, math.min(first + CHANGES_PAGE - 1, #values)))
  end
end

local function write_changes()
  for _, set in ipairs(changed_sets) do
    local added, removed = {}, {}
    for member, score in pairs(changes[set]) do
      if score then
        added[#added + 1] = score
        added[#added + 1] = member
      else
        removed[#removed + 1] = member
      end
    end
    call_paged('ZREM', set, removed)
    call_paged('ZADD', set, added)
  end
end
