-- The feed: all events by their places. The place of an event is the number of the write that committed it, so
-- places only grow. The events of one write share a place, and sort by order and number there.

-- The most members that one command adds or removes, because Lua limits how many values a call may have.
local FEED_PAGE = 128

-- Returns the member of an event. The letter before the number says how many digits it has, so that members sort
-- by number.
local function feed_member(id, seq)
  local digits = text(seq)
  return id .. ' ' .. string.char(64 + #digits) .. digits
end

-- Returns the order and the number of a member's event.
local function feed_event(member)
  local id, seq = string.match(member, '^(%S+) %u(%d+)$')
  return id, tonumber(seq)
end

-- Puts members into the feed, at the place of a write; with `is_new` only those that have no place.
local function place(write, members, is_new)
  for first = 1, #members, FEED_PAGE do
    local placed = {}
    for n = first, math.min(first + FEED_PAGE - 1, #members) do
      placed[#placed + 1] = write
      placed[#placed + 1] = members[n]
    end
    if is_new then
      redis.call('ZADD', FEED, 'NX', unpack(placed))
    else
      redis.call('ZADD', FEED, unpack(placed))
    end
  end
end

-- Returns the members of some events of an order.
local function feed_members(id, first_seq, last_seq)
  local members = {}
  for seq = tonumber(first_seq), tonumber(last_seq) do
    members[#members + 1] = feed_member(id, seq)
  end
  return members
end

-- Takes members out of the feed.
local function take_out(members)
  for first = 1, #members, FEED_PAGE do
    redis.call('ZREM', FEED, unpack(members, first, math.min(first + FEED_PAGE - 1, #members)))
  end
end
