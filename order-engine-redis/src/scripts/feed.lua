-- The feed: the writes of all orders by their places. The place of an event is the number of the write that committed it,
-- so places only grow. The events of one write share a place, and sort by order and number there.

-- The most members that one command adds or removes, because Lua limits how many values a call may have.
local FEED_PAGE = 64

-- Returns the member of a write of an order, from the texts of the numbers of its first event and of its last one. The
-- letter before the last one's says how many digits it has, so that members sort by it.
local function feed_member(id, first_seq, last_seq)
  return id .. ' ' .. string.char(64 + #last_seq) .. last_seq .. ' ' .. first_seq
end

-- Returns the order of a member, and the numbers of the first event and of the last one.
local function feed_write(member)
  local id, last_seq, first_seq = string.match(member, '^(%S+) %u(%d+) (%d+)$')
  return id, tonumber(first_seq), tonumber(last_seq)
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

-- Takes members out of the feed.
local function take_out(members)
  for first = 1, #members, FEED_PAGE do
    redis.call('ZREM', FEED, unpack(members, first, math.min(first + FEED_PAGE - 1, #members)))
  end
end
