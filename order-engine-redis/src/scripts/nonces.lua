-- The nonces that orders have reserved. The hash of an account has each nonce with its order and the number of the
-- write that reserved it. The row of an order lists its nonces, one a line: the nonce, a space, and the account. A value
-- that is no number is number 0 of an account whose name stands for the account and the value.
--
-- Nonces are texts of digits, because Lua cannot count to the greatest ones.
local function nonces_of(account)
  return key('nonces', account)
end

-- Returns the number after one.
local function number_after(digits)
  local head, digit, nines = string.match(digits, '^(.-)([0-8]?)(9*)$')
  return head .. text((tonumber(digit) or 0) + 1) .. string.rep('0', #nines)
end

-- Where the search for a free nonce ended, by where it began and the account. Another one in the same call goes on from
-- there, because all nonces before it are reserved.
local searched_to = {}

-- Returns the lowest nonce from `first` on that is not reserved, or nil and an error if the key holds something else.
local function free_nonce(account, first)
  local search = first .. ' ' .. account
  local nonce = searched_to[search] or first
  local is_reserved = redis.pcall('HEXISTS', nonces_of(account), nonce)
  while is_reserved == 1 do
    nonce = number_after(nonce)
    is_reserved = redis.call('HEXISTS', nonces_of(account), nonce)
  end
  if type(is_reserved) == 'table' then
    return nil, is_reserved.err
  end
  searched_to[search] = nonce
  return nonce
end

-- Returns the nonces that the row of an order lists: each with its account.
local function listed_nonces(list)
  local nonces = {}
  for nonce, account in string.gmatch(list or '', '(%d+) ([^\n]+)') do
    nonces[#nonces + 1] = { nonce = nonce, account = account }
  end
  return nonces
end

-- Returns the list with another nonce.
local function with_nonce(list, nonce, account)
  return (list and list ~= '' and list .. '\n' or '') .. nonce .. ' ' .. account
end

-- Returns whether a nonce is reserved for an order. It is not if the key holds something else.
local function owns_nonce(id, account, nonce)
  local owner = redis.pcall('HGET', nonces_of(account), nonce)
  return type(owner) == 'string' and string.match(owner, '^%S+') == id
end

-- Forgets the nonces that the row of an order lists.
local function forget_nonces(id, list)
  for _, listed in ipairs(listed_nonces(list)) do
    if owns_nonce(id, listed.account, listed.nonce) then
      redis.call('HDEL', nonces_of(listed.account), listed.nonce)
    end
  end
end
