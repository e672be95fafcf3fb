-- Returns the members of the writes of an order, from the one on that begins with a number.
local function feed_members(id, first_seq)
  local members = {}
  for first, last in writes_from(id, first_seq) do
    members[#members + 1] = feed_member(id, text(first), text(last))
  end
  return members
end

-- Returns the numbers of the last events of members that follow each other, and the members of an order from these.
local function last_seqs_of(members)
  local seqs = {}
  for n, member in ipairs(members) do
    local _, _, last = feed_write(member)
    seqs[n] = text(last)
  end
  return table.concat(seqs, ' ')
end

local function members_to(id, last_seqs)
  local members, first = {}, 1
  for last in string.gmatch(last_seqs, '%d+') do
    members[#members + 1] = feed_member(id, text(first), last)
    first = last + 1
  end
  return members
end
