-- Makes orders due at once that wait and that nobody holds. A lease is its order's own business.
for _, id in ipairs(ARGV) do
  local row = read(id, 'owner', 'lane')
  if row[1] == '' and row[2] ~= '' then
    redis.call('ZADD', key('due', row[2]), 'XX', 'LT', text(now_ms), id)
  end
end
return {}
