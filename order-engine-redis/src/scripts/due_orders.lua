-- Returns the due orders of a lane, those that became due first, first. It leases none.
local lane, limit = ARGV[1], tonumber(ARGV[2])
local ids = {}
merge(due_members(key('due', lane), limit), due_members(key('turn_due', lane), limit), limit, function(id)
  ids[#ids + 1] = id
end)
return ids
