-- Gives leases back: each item is an id, an epoch, an owner, when it is due again, and why.
local shown, touched = {}, {}
for first = 1, #ARGV, 5 do
  local id, epoch, owner, due_in_ms, reason = unpack(ARGV, first, first + 4)
  local row = read(id, 'epoch', 'owner', 'lane', 'fruitless')
  if row[1] == epoch and row[2] == owner then
    local fruitless = tonumber(row[4])
    if reason == 'yielded' then
      fruitless = math.max(0, fruitless - 1)
    end
    redis.call('HSET', key('order', id), 'owner', '', 'fruitless', text(fruitless))
    redis.call('ZADD', key('due', row[3]), text(now_ms + due_in_ms), id)
    if reason == 'undecodable' then
      shown[#shown + 1] = id
      touched[#touched + 1] = id
      touched[#touched + 1] = ''
    end
  end
end
if #shown > 0 then
  local run = begin('release', touched)
  for _, id in ipairs(shown) do
    show(id)
  end
  finish(run)
end
return {}
