-- Collects the events of a write, and puts them into the feed with one command.
local written_members = {}

local function add_to_feed(id, first_seq, last_seq)
  for _, member in ipairs(feed_members(id, first_seq, last_seq)) do
    written_members[#written_members + 1] = member
  end
end

local function write_feed(write)
  place(write, written_members)
end
