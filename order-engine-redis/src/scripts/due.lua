-- The due orders of a lane, without leasing them.
return redis.call('ZRANGE', key('due', ARGV[1]), '-inf', text(now_ms), 'BYSCORE', 'LIMIT', 0, ARGV[2])
