-- Accepts orders: one reply an order.

-- The number of arguments of an order.
local FIELDS = 9

local function existing(id)
  local failure, row = read_order_row(id)
  if failure then
    return { 'rejected', failure }
  end
  return { 'existing', id, row }
end

-- A client order id or a tag begins with '='; '' is none.
local function create(id, user, client_order_id, tag, plan, head, summary, state, events)
  local order_key = key('order', id)
  if client_order_id ~= '' then
    client_order_id = string.sub(client_order_id, 2)
    local named = redis.pcall('HGET', key('client_order_ids', user), client_order_id)
    if type(named) == 'table' then
      return { 'rejected', named.err }
    end
    if named and redis.call('EXISTS', key('order', named)) == 1 then
      return existing(named)
    end
  else
    client_order_id = nil
  end
  if redis.call('EXISTS', order_key, key('outbox', id)) > 0 then
    if redis.call('EXISTS', order_key) == 1 then
      return existing(id)
    end
    -- Outbox entries without a row are left from a torn creation, whose caller got no answer.
    redis.call('UNLINK', key('outbox', id))
  end
  local not_before_ms, handicap_ms, head_start_ms, lease_ms, owner = string.match(plan, '^(%S+) (%d+) (%d+) (%d+) (%x*)$')
  local is_leased, turn = owner ~= '', false
  local first_claim = is_leased and '1' or '0'
  if handicap_ms ~= '0' or head_start_ms ~= '0' then
    turn = text(now_ms + handicap_ms) .. ' ' .. head_start_ms
  end
  redis.call('HSET', order_key, 'user', user, 'head', head, 'summary', summary, 'state', state,
    'lease', lease_text(first_claim, owner, first_claim, turn), 'e1', events)
  if client_order_id then
    redis.call('HSET', order_key, 'client_order_id', client_order_id)
    redis.call('HSET', key('client_order_ids', user), client_order_id, id)
  end
  if tag ~= '' then
    tag = string.sub(tag, 2)
    redis.call('HSET', order_key, 'tag', tag)
    set_score(key('tag', tag), id, '0')
  end
  local _, _, status, lane, attention = parse_summary(summary)
  set_score(ORDERS, id, '0')
  set_score(key('user', user), id, '0')
  set_score(key('status', status), id, '0')
  if attention ~= '-' then
    set_score(ATTENTION, id, '0')
  end
  if lane ~= '-' then
    local due_ms = is_leased and now_ms + lease_ms or math.max(now_ms, tonumber(not_before_ms) or 0)
    schedule(id, lane, due_ms, turn, is_leased)
  end
  add_outbox_entries(id, '0')
  add_to_feed(id, '1', '1')
  return { 'created' }
end

local firsts, touched = {}, {}
for first = 1, #ARGV, FIELDS do
  firsts[#firsts + 1] = first
  touch(touched, ARGV[first], '0')
end
return write_items('create', touched, firsts, function(first)
  return create(unpack(ARGV, first, first + FIELDS - 1))
end, finish)
