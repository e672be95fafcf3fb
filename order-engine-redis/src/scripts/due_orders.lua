-- Returns the due orders of a lane, those that became due first, first. It leases none.
local lane, limit = unpack(ARGV)
return redis.call('ZRANGE', key('due', lane), '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, limit)
