-- A page of a walk over orders, newest first: along the smallest index that has all of those asked for.
local is_of_user, user, status, is_attention, before, limit, scan = unpack(ARGV, 1, 7)
limit = tonumber(limit)

local index, size = prefix .. ':orders', math.huge
local function consider(candidate)
  local candidate_size = redis.call('ZCARD', candidate)
  if candidate_size < size then
    index, size = candidate, candidate_size
  end
end
if is_of_user == '1' then
  consider(key('user', user))
end
if status ~= '' then
  consider(key('status', status))
end
if is_attention == '1' then
  consider(prefix .. ':attention')
end

local ids = redis.call('ZRANGE', index, before == '' and '+' or '(' .. before, '-', 'BYLEX', 'REV', 'LIMIT', 0, scan)
local rows, seen = {}, 0
for _, id in ipairs(ids) do
  if #rows == limit then
    break
  end
  seen = seen + 1
  local row, failure = read(id, 'origin', 'request', 'state', 'seq', 'created_at', 'updated_at', 'user', 'status', 'attention')
  local is_asked_for = (is_of_user == '0' or row[7] == user) and (status == '' or row[8] == status)
    and (is_attention == '0' or (row[9] and row[9] ~= ''))
  if failure or (row[4] and is_asked_for) then
    rows[#rows + 1] = { id, { row[1], row[2], row[3], row[4], row[5], row[6] } }
  end
end
local is_over = seen == #ids and #ids < tonumber(scan)
return { not is_over and ids[seen] or false, rows }
