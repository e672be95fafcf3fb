-- Returns the due orders of a lane, those that became due first, first, and leases none.
local request = arguments(1, { 'lane', 'limit' })
return redis.call(
  'ZRANGE', key('due', request.lane), '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, request.limit)
