-- The orders of the lanes. Most have their turn when they are due, and are in the set `due` of their lane. One
-- whose turn may come at another time has a turn in its lease: until when its handicap lasts, and its head start. It is
-- in the sets `turn_due`, by when it is due, and `turn`, by when its turn comes.

-- Returns when the turn of an order comes that is due at a time. A head start does not count for the end of a
-- lease: every claim would have to pass by the leased orders.
local function turn_at(turn, due_ms, is_leased)
  local handicap_until_ms, head_start_ms = string.match(turn, '^(%d+) (%d+)$')
  local at = math.max(due_ms, tonumber(handicap_until_ms) or 0)
  return is_leased and at or at - (tonumber(head_start_ms) or 0)
end

-- Puts an order into its lane, or gives it another due time there.
local function schedule(id, lane, due_ms, turn, is_leased)
  if turn then
    set_score(key('turn_due', lane), id, text(due_ms))
    set_score(key('turn', lane), id, text(turn_at(turn, due_ms, is_leased)))
  else
    set_score(key('due', lane), id, text(due_ms))
  end
end

-- Takes an order out of a lane, whatever sets it is in.
local function unschedule(id, lane)
  for _, set in ipairs({ 'due', 'turn_due', 'turn' }) do
    redis.call('ZREM', key(set, lane), id)
  end
end

-- Makes an order due where it is missing in its lane.
local function restore(id, lane, turn)
  if turn then
    redis.call('ZADD', key('turn_due', lane), 'NX', text(now_ms), id)
    redis.call('ZADD', key('turn', lane), 'NX', text(turn_at(turn, now_ms)), id)
  else
    redis.call('ZADD', key('due', lane), 'NX', text(now_ms), id)
  end
end
