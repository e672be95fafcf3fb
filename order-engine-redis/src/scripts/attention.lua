-- Lists an order that this program cannot work on among those that need an operator's attention.
local function flag_undecodable(id)
  redis.call('HSET', key('order', id), 'attention', 'unreadable')
  redis.call('ZADD', ATTENTION, 0, id)
end
