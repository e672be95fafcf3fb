-- Puts the events of a write of an order into the feed when the script ends.
local written_members = {}

local function add_to_feed(id, first_seq, last_seq)
  written_members[#written_members + 1] = feed_member(id, first_seq, last_seq)
end

-- Ends a write of orders.
local function finish(write)
  write_changes()
  place(write, written_members)
end
